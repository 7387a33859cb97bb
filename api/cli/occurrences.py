"""Events, printed as the user chose: a line each with what was found below, a JSON object a line, or YAML documents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rich.text import Text

from netplumb.api.cli.answers import one_by_one
from netplumb.api.cli.options import Format
from netplumb.api.v1 import netplumb_pb2 as pb

_STYLES = {
    "Attached": "green",
    "Changed": "green",
    "Detached": "dim",
    "Started": "dim",
    "FightOver": "green",
    "Denied": "dim",
    "Repaired": "yellow",
    "Retrying": "yellow",
}
_KIND_COLUMNS = 16


def printer(output: Format) -> Callable[[pb.Event], None]:
    return one_by_one(output, line)


def line(it: pb.Event, *, about: bool = True, margin: str = "") -> Text:
    """When, what and, unless that is known, about whom; of a repair also what was found and done, object by object."""
    whom = (f"{it.workload_id}/{it.if_name}: " if it.workload_id else "node: ") if about else ""
    kind = (f"{it.kind:<{_KIND_COLUMNS}}", _STYLES.get(it.kind, "red"))
    text = Text.assemble(f"{margin}{_moment(it.at)}  ", kind, f" {whom}{it.message}")
    text.append("".join(f", {words}" for words in _circumstances(it)))
    for found, done in zip(it.found, it.done, strict=True):
        text.append(f"\n{margin}    {found}" + (f": {done}" if found != done else ""), "dim")
    return text


def _circumstances(it: pb.Event) -> list[str]:
    words = []
    if it.HasField("lasted_s"):
        words.append(f"it had been so for {'at most ' if it.lasted_at_most else ''}{_seconds(it.lasted_s)}")
    if it.count > 1:
        words.append(f"{it.count} times since {_moment(it.first_at)}")
    return words


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
