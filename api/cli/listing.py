"""The commands `netplumb get|list|watch`: attachments as they are, and as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from netplumb.api.cli.options import (
    Daemon,
    Format,
    IfName,
    Labels,
    ListedWorkload,
    ListFormat,
    ListOutput,
    Output,
    asking,
)

if TYPE_CHECKING:
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb


@asking
def get(
    daemon: Daemon,
    workload: ListedWorkload = None,
    if_name: IfName = "",
    labels: Labels = "",
    output: ListOutput = ListFormat.TABLE,
) -> None:
    """Show one attachment and its status, or without one all, a line each."""
    if workload is None:
        if if_name:
            raise typer.BadParameter("names an interface of a workload, which is missing", param_hint="--if-name")
        _list(daemon, labels, output)
        return
    if labels:
        raise typer.BadParameter("chooses among all, and one is named", param_hint="-l")
    from netplumb.api.cli import answers, keys
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> pb.GetResponse:
        return await client.get_with_waiting(*await keys.found(client, workload, if_name))

    answers.attachment(call(daemon, ask), output)


@asking
def list_(daemon: Daemon, labels: Labels = "", output: ListOutput = ListFormat.TABLE) -> None:
    """Show all attachments, or those with such labels."""
    _list(daemon, labels, output)


def _list(daemon: Daemon, labels: str, output: ListFormat) -> None:
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> list[pb.Attachment]:
        return [attachment async for attachment in client.list(selector=labels)]

    answers.attachments(call(daemon, ask), output)


@asking
def watch(daemon: Daemon, labels: Labels = "", output: Output = Format.TABLE) -> None:
    """Show all attachments, or those with such labels, then each change as it happens, until Ctrl-C."""
    from contextlib import suppress

    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    async def follow(client: AsyncClient) -> None:
        show = answers.events(output)
        async for event in client.watch(labels):
            show(event)

    with suppress(KeyboardInterrupt):
        call(daemon, follow)
