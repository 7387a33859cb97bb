"""What became of documents, printed as the user chose."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.text import Text

from netplumb.api.cli import tables
from netplumb.api.cli.layout import printer
from netplumb.api.cli.lines import say, tell
from netplumb.api.cli.options import Format
from netplumb.api.cli.plain import plain, serialised
from netplumb.api.v1 import netplumb_pb2 as pb

UNCHANGED = "unchanged"
_STYLES = {"created": "green", "waiting": "red", "configured": "yellow", "pruned": "red"}
_VERBS = {"created": "+", "configured": "~", "pruned": "-"}


def show(answer: Sequence[pb.Applied], output: Format, *, dry_run: bool) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised([plain(it) for it in answer], output), nl=False)
        return
    show_line = printer()
    for it in answer:
        said = f"{_name(it)} ", (it.result, _STYLES.get(it.result, "")), " (dry run)" if dry_run else ""
        show_line(Text.assemble(*said, f", {', '.join(it.changes)}" if it.changes else ""))
        if it.waiting:
            show_line(Text(f"  waits: {it.waiting}", "red"))


def show_deleted(answer: pb.DeleteResponse, *, dry_run: bool, ignore_not_found: bool) -> None:
    for it in answer.deleted:
        say(f"{_name(it)} deleted{' (dry run)' if dry_run else ''}")
    for manifest in answer.deleted_manifests:
        say(f"{manifest} deleted{' (dry run)' if dry_run else ''}")
    for manifest in () if ignore_not_found else answer.missing_manifests:
        tell(f"{manifest} was not applied; `netplumb policy list` tells whose it is, if it is there")
    for it in () if ignore_not_found else answer.missing:
        tell(f"{_name(it)} was not applied; `netplumb get {_name(it)}` tells whose it is, if it is there")
    if not any((answer.deleted, answer.missing, answer.deleted_manifests, answer.missing_manifests)):
        say("nothing to delete")


def show_deleted_documents(
    deleted: Sequence[str], missing: Sequence[str], *, dry_run: bool, ignore_not_found: bool
) -> None:
    for name in deleted:
        say(f"document {name} deleted{' (dry run)' if dry_run else ''}")
    for name in () if ignore_not_found else missing:
        tell(f"there is no document {name} for that node, nor for all")


def show_difference(wished: Sequence[pb.Applied], planned: pb.PlanResponse, output: Format) -> bool:
    """Whether there is one."""
    differing = [it for it in wished if it.result != UNCHANGED or it.waiting]
    if output is not Format.TABLE:
        data = {"applied": [plain(it) for it in differing], **plain(planned)}
        typer.echo(serialised(data, output), nl=False)
    else:
        show_line = printer()
        for it in differing:
            show_line(Text(f"{_VERBS.get(it.result, '!')} {_name(it)}", _STYLES.get(it.result, "red")))
            for change in it.changes:
                show_line(f"    {change}")
        for line in tables.differences(planned.changes, planned.unmet):
            show_line(line)
    return bool(differing or planned.changes)


def _name(it: pb.Applied | pb.AttachmentName) -> str:
    return it.manifest if isinstance(it, pb.Applied) and it.manifest else f"{it.workload_id}/{it.if_name}"
