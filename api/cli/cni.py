"""The commands `netplumb cni install|uninstall`: netplumb as the CNI plugin of this node's runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from netplumb.api.cli.lines import tell
from netplumb.api.cli.options import Socket
from netplumb.api.cli.pages import App
from netplumb.api.defaults import DEFAULT_SOCKET

NETWORK = "netplumb"
CONF_DIR, BIN_DIR = Path("/etc/cni/net.d"), Path("/opt/cni/bin")

_SCRIPT = "a script for Python; compiled, it would start ten times faster: see docs/cni.md"
_EPILOG = "Exit codes: 0 done, 1 failed, or something that is not netplumb's is in the way, 2 wrong usage."

ConfDir: TypeAlias = Annotated[Path, typer.Option("--conf-dir", help="Where runtimes look for configurations.")]
BinDir: TypeAlias = Annotated[Path, typer.Option("--bin-dir", help="Where runtimes look for plugins.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    cni_app = App(no_args_is_help=True, help="Serve runtimes as a CNI plugin.")
    for command in (install, uninstall):
        cni_app.command(epilog=_EPILOG)(command)
    app.add_typer(cni_app, name="cni")


def install(
    network: Annotated[str, typer.Option(help="The network's name.")] = NETWORK,
    pool: Annotated[str, typer.Option(help="The pools that it takes addresses from; labels choose without it.")] = "",
    conf_dir: ConfDir = CONF_DIR,
    bin_dir: BinDir = BIN_DIR,
    socket: Socket = DEFAULT_SOCKET,
    plugin: Annotated[
        Path | None,
        typer.Option(help="The compiled plugin; that of this installation without it, or else a script for Python."),
    ] = None,
) -> None:
    """Write the plugin and the configuration of a network that uses it. Nothing that is not netplumb's is replaced.

    The plugin asks the daemon on the socket that is given here. It does not have to run yet.
    """
    from netplumb.api.cli.call import fail
    from netplumb.api.cli.exits import Exit
    from netplumb.api.cni import install as installation
    from netplumb.api.cni import programs

    places = installation.Places(conf_dir, bin_dir)
    compiled = plugin or (programs.COMPILED if programs.COMPILED.exists() else None)
    try:
        written = installation.install(places, network, pool, socket, compiled=compiled)
        other = installation.chosen_before(places, written[-1])
    except installation.InstallError as error:
        fail(str(error), Exit.FAILED)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", Exit.FAILED)
    for path in written:
        typer.echo(path)
    tell(f"{places.plugin} is compiled, from {compiled}" if compiled else f"{places.plugin} is {_SCRIPT}")
    if other is not None:
        tell(f"a runtime that uses only the first configuration uses {other}")


def uninstall(
    network: Annotated[str, typer.Option(help="Only this network; all of netplumb's without it.")] = "",
    conf_dir: ConfDir = CONF_DIR,
    bin_dir: BinDir = BIN_DIR,
) -> None:
    """Remove what `install` wrote. What is attached stays attached."""
    from netplumb.api.cli.call import fail
    from netplumb.api.cli.exits import Exit
    from netplumb.api.cni import install as installation

    try:
        removed = installation.uninstall(installation.Places(conf_dir, bin_dir), network)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", Exit.FAILED)
    for path in removed:
        typer.echo(path)
    if not removed:
        typer.echo("Nothing of netplumb's is here.")
