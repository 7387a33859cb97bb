"""The command `netplumb trace`. What it needs is imported when it runs, so that `netplumb --help` is quick."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from netplumb.api.cli.lines import say, tell
from netplumb.reconciler.cli.config import Config, DataDir, Output, load_or_exit

if TYPE_CHECKING:
    from netplumb.reconciler.tracing.hops import Trace

_ARRIVES, _ENDS, _UNKNOWN = 0, 1, 2
_EPILOG = (
    "Exit codes: 0 it arrives and the answer comes back, 1 it ends on the way, 2 that cannot be told, or wrong usage."
)

_End: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="FROM", help="WORKLOAD, WORKLOAD/INTERFACE, NODE/WORKLOAD, `node`, or an address."),
]
_Target: TypeAlias = Annotated[str, typer.Argument(metavar="TO", help="The same.")]


def register(app: typer.Typer) -> None:
    """Add `trace` to the application."""
    app.command("trace", epilog=_EPILOG)(trace)


def trace(
    source: _End,
    target: _Target,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The destination port.")] = 80,
    proto: Annotated[Literal["tcp", "udp", "sctp", "icmp"], typer.Option(help="The protocol.")] = "tcp",
    ipv6: Annotated[bool, typer.Option("--ipv6", "-6", help="Use IPv6 where both ends have both.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Send a packet from inside FROM, and watch it by nftables' trace.")
    ] = False,
    output: Output = "table",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Follow a packet through the kernel, hop by hop, and say where it ends and why.

    The kernel is asked for each route, and the rules of every firewall on the way are evaluated. Without --live,
    nothing is sent but ARP or neighbour discovery for the next hop. Needs root, works without the daemon, and changes
    nothing. --live sends a SYN, a datagram or an echo, and if a host beyond the node answers, echoes of several sizes;
    the table that traces them is removed with the command, however it ends.
    """
    settings = load_or_exit({"data_dir": data_dir} if data_dir else {}, config).settings

    from netplumb.models.errors import NetplumbError, StepError
    from netplumb.reconciler.settings.logs import configure
    from netplumb.reconciler.tracing.hops import Outcome
    from netplumb.reconciler.tracing.run import trace as follow

    configure(settings.log_format, "error")
    try:
        found = follow(settings, source, target, protocol=proto, port=port, ipv6=ipv6, live=live)
    except NetplumbError as error:
        denied = isinstance(error, StepError) and error.wants_root
        tell(f"{error}; run it as root" if denied else str(error))
        raise typer.Exit(_UNKNOWN) from None
    _show(found, output)
    codes = {Outcome.ARRIVES: _ARRIVES, Outcome.ENDS: _ENDS, Outcome.UNKNOWN: _UNKNOWN}
    raise typer.Exit(codes[found.outcome])


def _show(found: "Trace", output: str) -> None:
    if output == "json":
        typer.echo(json.dumps(found.plain(), indent=2, ensure_ascii=False))
        return
    if output == "yaml":
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.default_flow_style = False
        yaml.dump(found.plain(), sys.stdout)
        return
    width = max((len(hop.where) for hop in found.hops), default=0)
    for hop in found.hops:
        say(f"{hop.arrow} {hop.where:{width}}  {hop.what}")
    say(f"{found.outcome}{f': {found.why}' if found.why else ''}")
    if found.heal:
        typer.echo(f"heal: {found.heal}")
