"""The commands `netplumb get|list|watch`: attachments as they are, and as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from netplumb.api.cli.elsewhere import AllNodes, ClusterConfig, elsewhere, refuse_config
from netplumb.api.cli.options import (
    Daemon,
    Format,
    IfName,
    Labels,
    ListedWorkloads,
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
    workloads: ListedWorkloads = None,
    if_name: IfName = "",
    labels: Labels = "",
    output: ListOutput = ListFormat.TABLE,
) -> None:
    """Show one attachment and its status; several, or all if none is named, as a line each.

    `netplumb apply -f` takes what -o yaml and -o json print.
    """
    if not workloads:
        if if_name:
            raise typer.BadParameter("names an interface of a workload, which is missing", param_hint="--if-name")
        _list(daemon, labels, output)
        return
    if labels:
        raise typer.BadParameter("chooses among all, and one is named", param_hint="-l")
    if if_name and len(workloads) > 1:
        raise typer.BadParameter(
            "names the interface of one workload, and several are named: say WORKLOAD/IF", param_hint="--if-name"
        )
    from netplumb.api.cli import answers, keys
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> list[pb.GetResponse]:
        meant = dict.fromkeys([await keys.found(client, word, if_name) for word in workloads])
        return [await client.get_with_waiting(*key) for key in meant]

    found = call(daemon, ask)
    if len(workloads) == 1:
        answers.attachment(found[0], output)
    else:
        answers.attachments([it for each in found for it in (each.attachment, *each.waiting)], output)


@asking
def list_(
    daemon: Daemon,
    labels: Labels = "",
    all_nodes: AllNodes = False,
    config: ClusterConfig = None,
    output: ListOutput = ListFormat.TABLE,
) -> None:
    """Show all attachments, or those that a label selector matches."""
    if all_nodes:
        if labels:
            raise typer.BadParameter("chooses among those of one node", param_hint="-l")
        from netplumb.api.cli import everywhere

        everywhere.show(elsewhere().attachments(config), output)
        return
    refuse_config(config, "--all-nodes")
    _list(daemon, labels, output)


def _list(daemon: Daemon, labels: str, output: ListFormat) -> None:
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> list[pb.Attachment]:
        documents = output in (ListFormat.JSON, ListFormat.YAML)
        return [attachment async for attachment in client.list(selector=labels, with_documents=documents)]

    answers.attachments(call(daemon, ask), output)


@asking
def watch(daemon: Daemon, labels: Labels = "", output: Output = Format.TABLE) -> None:
    """Show all attachments, or those that a label selector matches, then each change as it happens, until Ctrl-C."""
    from contextlib import suppress

    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    async def follow(client: AsyncClient) -> None:
        show = answers.events(output)
        async for event in client.watch(labels):
            show(event)

    with suppress(KeyboardInterrupt):
        call(daemon, follow)
