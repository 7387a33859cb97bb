"""Each answer of the daemon, printed as the user chose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import typer
from google.protobuf.message import Message
from rich.text import Text

from netplumb.api.cli import tables
from netplumb.api.cli.layout import Part, printer
from netplumb.api.cli.lines import say
from netplumb.api.cli.options import Format, ListFormat
from netplumb.api.cli.plain import Plain, plain, serialised
from netplumb.api.v1 import netplumb_pb2 as pb

Streamed = TypeVar("Streamed", bound=Message)


def attached(answer: pb.AttachResponse, output: Format) -> None:
    addresses = plain(answer)["ip"]
    for warning in answer.warnings:
        say(f"warning: {warning}", err=True)
    _print(output, plain(answer), addresses)


def attachment(answer: pb.GetResponse, output: ListFormat) -> None:
    if output in (ListFormat.WIDE, ListFormat.NAME):
        attachments((answer.attachment, *answer.waiting), output)
        return
    data = {**_documented(answer.attachment), "waiting": [_documented(it) for it in answer.waiting]}
    _print(Format(output), data, map(tables.attachment, (answer.attachment, *answer.waiting)))


def attachments(answer: Sequence[pb.Attachment], output: ListFormat) -> None:
    match output:
        case ListFormat.NAME:
            for name in dict.fromkeys(f"{it.workload_id}/{it.if_name}" for it in answer):
                typer.echo(name)
        case ListFormat.WIDE:
            _print(Format.TABLE, [], [tables.attachments(answer, wide=True)])
        case _:
            _print(Format(output), [_documented(it) for it in answer], [tables.attachments(answer)])


def _documented(it: pb.Attachment) -> dict[str, Any]:
    """Its document as what it is, and not as text, so that people read it, and `netplumb apply` takes it back."""
    return {**plain(it), "document": json.loads(it.document) if it.document else None}


def checked(answer: pb.CheckResponse, output: Format) -> None:
    _print(output, plain(answer), tables.checked(answer))


def all_checked(answer: Sequence[pb.CheckResponse], output: Format) -> None:
    _print(output, [plain(it) for it in answer], [line for it in answer for line in tables.checked(it)])


def planned(answer: pb.PlanResponse, output: Format) -> None:
    lines = tables.differences(answer.changes, answer.unmet) or [Text("nothing to change")]
    _print(output, plain(answer), lines)


def status(answer: pb.StatusResponse, output: Format) -> None:
    _print(output, plain(answer), tables.status(answer))


def events(output: Format) -> Callable[[pb.WatchResponse], None]:
    return one_by_one(output, tables.event)


def one_by_one(output: Format, for_people: Callable[[Streamed], Part]) -> Callable[[Streamed], None]:
    """What prints each message of a stream: as for people, as a JSON object on one line, or as a YAML document."""
    match output:
        case Format.JSON:
            return lambda message: typer.echo(json.dumps(plain(message), ensure_ascii=False))
        case Format.YAML:
            return lambda message: typer.echo("---\n" + serialised(plain(message), output), nl=False)
        case Format.TABLE:
            show = printer()
            return lambda message: show(for_people(message))


def _print(output: Format, data: Plain, for_people: Iterable[Part]) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised(data, output), nl=False)
        return
    show = printer()
    for part in for_people:
        show(part)
