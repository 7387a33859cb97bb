"""The arguments and options that commands share, each said once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


NETNS_DIR = "/run/netns"  # that of netplumb.models.attachment, which would load pydantic for --help

_DAEMON = "Daemon"

Socket: TypeAlias = Annotated[
    Path,
    typer.Option("--socket", envvar="NETPLUMB_SOCKET", help="The daemon's unix socket.", rich_help_panel=_DAEMON),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option("--timeout", min=0.001, help="Seconds to wait, also for a daemon to start.", rich_help_panel=_DAEMON),
]
Output: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="How to print the answer.")]

Workload: TypeAlias = Annotated[str, typer.Argument(metavar="WORKLOAD", help="The workload's id.")]
OptionalWorkload: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="WORKLOAD", help="The workload's id; all attachments without one.")
]
IfName: TypeAlias = Annotated[str, typer.Option("--if-name", help="The interface's name in the workload.")]
ContainerId: TypeAlias = Annotated[str, typer.Option("--container-id", help="The runtime's id of the container.")]

DetachNetns: TypeAlias = Annotated[
    str,
    typer.Option(
        "--netns", metavar="PATH|NAME", help="Detach only if the attachment is in this namespace; any without it."
    ),
]


def netns_path(netns: str) -> str:
    """A bare name means what it means to `ip netns`."""
    return f"{NETNS_DIR}/{netns}" if netns and "/" not in netns else netns
