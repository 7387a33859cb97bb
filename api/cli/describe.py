"""The command `netplumb describe`: all about one workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.completion import workloads
from netplumb.api.cli.options import Daemon, Format, Output, asking

if TYPE_CHECKING:
    from netplumb.api.v1 import netplumb_pb2 as pb


@asking
def describe(
    daemon: Daemon,
    workload: Annotated[
        str,
        typer.Argument(metavar="WORKLOAD[/IF]", help="A workload, or one interface of it.", autocompletion=workloads),
    ],
    events: Annotated[int, typer.Option(min=0, max=10_000, help="How many of its last events to show.")] = 10,
    output: Output = Format.TABLE,
) -> None:
    """Show all about one workload: wish, source, addresses, conditions, its objects in the kernel, its last events.

    The kernel is read for it; what is not as desired is marked.
    """
    from netplumb.api.cli import descriptions, keys
    from netplumb.api.cli.call import call
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.client.errors import NotFound

    async def ask(client: AsyncClient) -> tuple[Sequence[pb.Description], pb.StatusResponse]:
        try:
            found = await client.describe(workload, events=events)
        except NotFound:
            key = await keys.workload(client, workload)
            found = await client.describe(*key, events)
        return found, await client.status(without_pools=True)

    descriptions.show(*call(daemon, ask), output)
