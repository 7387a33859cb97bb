"""Descriptions of workloads, printed as the user chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer
from rich.text import Text

from netplumb.api.cli import occurrences, tables
from netplumb.api.cli.layout import Part, printer
from netplumb.api.cli.options import Format
from netplumb.api.cli.plain import plain, serialised
from netplumb.api.v1 import netplumb_pb2 as pb


def show(found: Sequence[pb.Description], node: pb.StatusResponse, output: Format) -> None:
    """`node` tells what may be in the way of all workloads; a table ends with it."""
    if output is not Format.TABLE:
        typer.echo(serialised([plain(it) for it in found], output), nl=False)
        return
    show_part = printer()
    for number, it in enumerate(found):
        for part in (*([Text()] if number else []), *_parts(it)):
            show_part(part)
    told = {reason.reason for it in found for reason in it.unmet}
    if notes := [*tables.in_the_way(node.conditions, told), *tables.without_uplink(node)]:
        show_part(Text("of the node, what may concern it:", "bold"))
        for note in notes:
            show_part(note)


def _parts(it: pb.Description) -> Iterator[Part]:
    """What it is, then what the kernel holds of it on either side, then what happened."""
    yield tables.attachment(it.attachment)
    differs = any(thing.deviation for thing in it.objects)
    yield Text.assemble(("in the kernel  ", "bold"), ("differs", "red") if differs else ("as desired", "green"))
    if not it.in_sync:
        yield Text("not as wished:", "bold")
        yield from tables.differences((), it.unmet)
        if not (differs or it.unmet):
            yield Text("the node differs; `netplumb check` shows how", "red")
    for where, heading in (("node", "on the node"), ("workload", "in the workload")):
        if objects := [thing for thing in it.objects if thing.where == where]:
            yield Text(f"{heading}:", "bold")
            yield from map(_object, objects)
    if it.events:
        yield Text("events:", "bold")
        for event in it.events:
            yield occurrences.line(event, about=False, margin="  ")


def _object(thing: pb.DescribedObject) -> Text:
    if not thing.deviation:
        return Text(f"  {thing.words}")
    return Text.assemble(f"  {thing.words}  ", (thing.deviation, "red"))
