"""The arguments and options that commands share, each said once."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import inspect
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import typer

from netplumb.api.cli.completion import workloads
from netplumb.api.cli.durations import timeout_s
from netplumb.api.defaults import (
    CA_VARIABLE,
    CERT_VARIABLE,
    DEFAULT_SOCKET,
    DEFAULT_TIMEOUT_S,
    HOST_VARIABLE,
    KEY_VARIABLE,
)


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class ListFormat(StrEnum):
    """The same of attachments: `wide` tells more of each in its line, `name` only how it is named."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


NETNS_DIR = "/run/netns"  # that of netplumb.models.attachment, which would load pydantic for --help

_DAEMON = "Daemon"

Socket: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--socket",
        envvar="NETPLUMB_SOCKET",
        help="The daemon's unix socket.",
        rich_help_panel=_DAEMON,
        readable=False,  # who may not connect is told so by `call`
    ),
]
RemoteHost: TypeAlias = Annotated[
    str,
    typer.Option(
        "--host",
        envvar=HOST_VARIABLE,
        metavar="HOST:PORT",
        help="A remote daemon, over mutual TLS, instead of a socket.",
        rich_help_panel=_DAEMON,
    ),
]
Ca: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ca", envvar=CA_VARIABLE, metavar="FILE", help="The CA that issued its certificate.", rich_help_panel=_DAEMON
    ),
]
Cert: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cert", envvar=CERT_VARIABLE, metavar="FILE", help="Your certificate for it.", rich_help_panel=_DAEMON
    ),
]
Key: TypeAlias = Annotated[
    Path | None,
    typer.Option("--key", envvar=KEY_VARIABLE, metavar="FILE", help="Its key.", rich_help_panel=_DAEMON),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option(
        "--timeout",
        parser=timeout_s,
        metavar="SECONDS",
        help="How long to wait for an answer, in seconds or as 2m.",
        rich_help_panel=_DAEMON,
    ),
]
Wait: TypeAlias = Annotated[
    bool,
    typer.Option("--wait", help="If no daemon is running, wait for one, up to --timeout.", rich_help_panel=_DAEMON),
]
Output: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="How to print the answer.")]

ListOutput: TypeAlias = Annotated[
    ListFormat,
    typer.Option("--output", "-o", help="How to print the answer; wide tells more in a line, name only the names."),
]

Labels: TypeAlias = Annotated[
    str,
    typer.Option(
        "--selector", "-l", metavar="LABELS", help="Only those that match: app=web,tier!=test,!old,zone in (a,b)."
    ),
]

_KEY = "WORKLOAD[/IF]"
NewWorkload: TypeAlias = Annotated[
    str, typer.Argument(metavar=_KEY, help="The workload's id, and the interface's name if that is not eth0.")
]
Workload: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar=_KEY, help="The workload and its interface; the beginning of an id will do.", autocompletion=workloads
    ),
]
OptionalWorkload: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar=_KEY, help="A workload and its interface; the node and all without one.", autocompletion=workloads
    ),
]
ListedWorkloads: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORKLOAD[/IF]...", help="Workloads and their interfaces; all without one.", autocompletion=workloads
    ),
]
Workloads: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORKLOAD[/IF]...", help="Workloads and their interfaces, in full.", autocompletion=workloads
    ),
]
IfName: TypeAlias = Annotated[
    str, typer.Option("--if-name", metavar="IF", help="The interface's name in the workload, as after the slash.")
]
ContainerId: TypeAlias = Annotated[str, typer.Option("--container-id", help="The runtime's id of the container.")]

DetachNetns: TypeAlias = Annotated[
    str,
    typer.Option(
        "--netns", metavar="PATH|NAME", help="Detach only if the attachment is in this namespace; any without it."
    ),
]

Files: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", metavar="FILE", help="A state file, or a directory of them; - is stdin. Repeatable."),
]
Documents: TypeAlias = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="A file of documents as in state files, or a directory of them; - is stdin. Repeatable.",
    ),
]
Prune: TypeAlias = Annotated[
    bool, typer.Option("--prune", help="Withdraw what was applied before and is not in the files.")
]
NameOfFile: TypeAlias = Annotated[
    str, typer.Option("--as", metavar="NAME", help="The name that the file is to have; its own without.")
]


def netns_path(netns: str) -> str:
    """A bare name means what it means to `ip netns`."""
    return f"{NETNS_DIR}/{netns}" if netns and "/" not in netns else netns


class Elsewhere(NamedTuple):
    """A daemon elsewhere as options say it: `netplumb.api.client.remote` would load gRPC for --help."""

    address: str
    ca: Path
    cert: Path
    key: Path


class Daemon(NamedTuple):
    """Which daemon is asked, how long for, and whether that is waited out for one that does not run."""

    where: Path | Elsewhere
    timeout_s: float
    wait: bool


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that takes a `daemon` the options that say which."""

    @wraps(command)
    def run(
        socket: Path,
        timeout: float,
        wait: bool,
        host: str,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        **arguments: Any,
    ) -> None:
        where = _elsewhere(host, ca, cert, key) or socket
        command(daemon=Daemon(where, timeout, wait), **arguments)

    own = inspect.signature(command, eval_str=True).parameters.values()
    asked = inspect.signature(_asked).parameters.values()
    return taking(run, [*(it for it in own if it.name != "daemon"), *asked])


def _asked(
    socket: Socket = DEFAULT_SOCKET,
    host: RemoteHost = "",
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    wait: Wait = False,
) -> None:
    """What every command takes that asks a daemon."""


def _elsewhere(host: str, ca: Path | None, cert: Path | None, key: Path | None) -> Elsewhere | None:
    if not host:
        return None
    if ca is None or cert is None or key is None:
        raise typer.BadParameter("wants --ca, --cert and --key too", param_hint="--host")
    return Elsewhere(host, ca, cert, key)


def taking(run: Any, parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """The function with these parameters, for typer to read; each comes in by its name."""
    named = [it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in parameters]
    run.__signature__ = inspect.Signature(named)
    run.__annotations__ = {it.name: it.annotation for it in named}
    del run.__wrapped__  # it would be read instead
    made: Callable[..., None] = run
    return made
