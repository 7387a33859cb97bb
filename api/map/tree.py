"""PURE: a node's picture as a tree for the terminal. What is longer than a line goes on within its branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.text import Text

from netplumb.api.cli import tables
from netplumb.api.cli.layout import Laid, broken
from netplumb.api.map.picture import Group, Picture, limits, port, size, words
from netplumb.api.text import counted
from netplumb.api.v1 import netplumb_pb2 as pb

_FORK, _LAST, _ON, _OVER = "├── ", "└── ", "│   ", "    "
_REST = 2
"""Columns by which what a line goes on with is indented."""


@dataclass(slots=True)
class _Branch:
    text: Text
    below: list[_Branch] = field(default_factory=list)

    def lines(self, width: int) -> Iterator[Text]:
        own, *more = broken(self.text, width)
        yield own
        stem = Text(_ON if self.below else _OVER, "dim")[:_REST]
        yield from (Text.assemble(stem, line[_REST:]) for line in more)
        for number, branch in enumerate(self.below, 1):
            is_last = number == len(self.below)
            first, *rest = branch.lines(width - len(_FORK))
            yield Text.assemble((_LAST if is_last else _FORK, "dim"), first)
            yield from (Text.assemble((_OVER if is_last else _ON, "dim"), line) for line in rest)


def tree(picture: Picture) -> Laid:
    ready = ("ready", "green") if picture.ready else ("not ready", "red")
    count = counted(picture.attached, "attachment")
    told = f"{count}, {picture.broken} not as wished" if picture.broken else count
    root = _Branch(Text.assemble(("node", "bold"), "  ", ready, ", ", told))
    root.below += (_Branch(Text(f"! {problem}", "red")) for problem in picture.problems)
    root.below += (_Branch(Text(f"? {note}", "yellow")) for note in picture.notes)
    for uplink in picture.uplinks:
        mtu = f", MTU {uplink.mtu}" if uplink.mtu else ""
        what = f"{uplink.name}  {' '.join(uplink.addresses) or 'no address of its own'}{mtu}"
        root.below.append(_Branch(Text.assemble(("uplink ", "bold"), what)))
    root.below += map(_of_group, picture.groups)
    return root


def _of_group(group: Group) -> _Branch:
    held = ", ".join(f"{pool.held} of {size(pool)} held" for pool in group.pools)
    what = ("pools " if len(group.pools) > 1 else "pool ", "bold") if group.pools else ""
    branch = _Branch(Text.assemble(what, group.name, (f"  {held}" if held else "", "dim")))
    for it in group.attachments:
        reasons = [_Branch(Text(f"! {words(why)}", "red")) for why in it.unmet]
        branch.below.append(_Branch(_line(it), reasons))
    return branch


def _line(it: pb.Attachment) -> Text:
    carried = [*map(port, it.port_mappings), *filter(None, (limits(it.bandwidth),))]
    return Text.assemble(
        (f"{it.workload_id}/{it.if_name}", "bold"),
        "  ",
        (it.phase, tables.PHASE_STYLES.get(it.phase, "red")),
        "".join(f"  {text}" for text in (" ".join(it.addresses), *carried) if text),
        (f"  {it.node_if_name}", "dim"),
    )
