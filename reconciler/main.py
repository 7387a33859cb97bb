"""The command `netplumb`: the API's client commands, and the daemon, its settings, the purge and the sandbox."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import asyncio
import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli import cni, commands
from netplumb.api.cli.elsewhere import done_by
from netplumb.api.cli.lines import say, tell
from netplumb.api.cli.pages import App
from netplumb.api.defaults import CLIENT_VARIABLES
from netplumb.api.text import counted
from netplumb.reconciler.cli import cluster, doctor, schema, trace, validate
from netplumb.reconciler.cli import config as settings_commands
from netplumb.reconciler.cli.config import Config, DataDir, load_or_exit, with_settings
from netplumb.reconciler.cli.elsewhere import ByEtcd

if TYPE_CHECKING:
    from netplumb.models.settings import Settings

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
"""For gRPC's core, which writes to stderr past every log: a line for each connection of a client that was not let in,
and for each that etcd ended. What of that concerns somebody is said in netplumb's own words. It is read when gRPC is
imported, which is only in commands."""

THREAD_TURN_S = 0.0005
"""How long one thread runs Python before another has its turn. The loop's own gives its turn up at each of a dozen
calls to the kernel for an attach, and with Python's 5 ms would wait for it so long while a large file is parsed."""

GARBAGE_LOOKED_AT = 20_000
"""How many more objects there have to be before Python looks which of them hold only each other. An attachment makes
thousands, and nearly all go by themselves; with Python's 700 it looks at every other one."""

END_S = 2.0
"""How long a daemon that has stopped lasts at most. What is under way in threads then only looks at something, as at a
large document or at the rules of others, and no thread can be told to stop."""

app = App(
    no_args_is_help=True,
    help="Give workloads their network, and keep it so. Declare it over gRPC or in state files; one loop makes the "
    "kernel agree.",
)
commands.register(app)
done_by(ByEtcd())
cni.register(app)
settings_commands.register(app)
cluster.register(app)
doctor.register(app)
schema.register(app)
trace.register(app)
validate.register(app)


def show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"netplumb {version('netplumb')}")
        raise typer.Exit


@app.callback()
def before(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback has dealt with it
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What is done before each command."""
    if context.invoked_subcommand != daemon.__name__:  # which logs them
        for name, reason in mistyped_variables():
            tell(f"warning: {name}: {reason}")


@app.command(epilog="Exit codes: 0 stopped by a signal, 1 it cannot start, or failed, 2 wrong usage or settings.")
@with_settings
def daemon(flags: dict[str, object], config: Config = None) -> None:
    """Run the daemon in this network namespace, the node. Needs root, or a user namespace of its own.

    SIGTERM stops it, and leaves all attachments in place; SIGHUP reloads the settings.
    """
    settings = load_or_exit(flags, config).settings

    import structlog

    from netplumb.models.errors import NetplumbError
    from netplumb.reconciler import daemon as composition
    from netplumb.reconciler.settings import configuration
    from netplumb.reconciler.settings.logs import configure

    configure(settings.log_format, settings.log_level)
    log = structlog.get_logger(__name__)
    for name, reason in mistyped_variables():
        log.warning("an environment variable has no effect", variable=name, cause=reason)
    sys.setswitchinterval(THREAD_TURN_S)
    gc.set_threshold(GARBAGE_LOOKED_AT)
    gc.freeze()  # what was imported stays; a look at all of it takes 40 ms, in which nobody is answered

    def reload() -> "Settings":
        return configuration.load(flags, config, os.environ).settings

    try:
        with asyncio.Runner() as runner:
            runner.run(composition.run(settings, reload))
            end_within(END_S)
    except NetplumbError as error:
        fail(str(error))


def end_within(seconds: float) -> None:
    """Ends this process by then as one that went well, whatever its threads do."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


@app.command(epilog="Exit codes: 0 nothing is left, 1 something is, or not confirmed, 2 wrong usage or settings.")
def purge(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Show all that netplumb has on this node, and remove it. The daemon must not be running.

    Workloads lose their network. Sysctls that netplumb set get back the values that they had before.
    """
    settings = load_or_exit({"data_dir": data_dir} if data_dir else {}, config).settings

    from netplumb.models.errors import NetplumbError
    from netplumb.reconciler.purge import Purge

    try:
        with Purge(settings.data_dir) as purge:
            steps = purge.plan()
            if not steps:
                typer.echo("Nothing of netplumb's is here.")
                return
            for step in steps:
                say(step)
            if not yes and not typer.confirm(f"Carry out {counted(len(steps), 'change')}?"):
                raise typer.Exit(1)
            purge.apply()
    except NetplumbError as error:
        fail(str(error))


@app.command(
    epilog="Exit codes: 0 stopped by a signal, or all that the demo claims came true, 1 something did not, or failed, "
    "2 wrong usage, 130 the demo was interrupted."
)
def sandbox(
    demo: Annotated[bool, typer.Option("--demo", help="Show attach, pings, damage and repair.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Show three nodes on an etcd of three members instead.")
    ] = False,
    state_files: Annotated[Path | None, typer.Option(help="State files; by default the examples.")] = None,
) -> None:
    """Run the daemon in a network namespace that plays the node, so that this machine's network is left alone."""
    from netplumb.reconciler import sandbox as sandboxes

    sys.exit(sandboxes.run(demo=demo, cluster=cluster, state_files=state_files))


def mistyped_variables() -> list[tuple[str, str]]:
    """Variables that were meant for netplumb and say nothing to it, each with why."""
    from netplumb.reconciler.settings import variables

    if not set(variables.suspects(os.environ)) - CLIENT_VARIABLES:
        return []
    from netplumb.models.settings import Settings

    others = {name: value for name, value in os.environ.items() if name not in CLIENT_VARIABLES}
    return list(variables.mistyped(others, Settings.model_fields))


def fail(message: str) -> None:
    """One readable line for each mistake, and exit 1."""
    tell(message)
    raise typer.Exit(1)


def main() -> None:
    app()
