"""The command `netplumb map`: the node and its workloads, drawn."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.options import Daemon, Labels, asking

if TYPE_CHECKING:
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb


class MapFormat(StrEnum):
    TREE = "tree"
    SVG = "svg"
    HTML = "html"
    JSON = "json"


MapOutput: TypeAlias = Annotated[
    MapFormat,
    typer.Option("--output", "-o", help="A tree in the terminal, an SVG file, one HTML page, or all that they show."),
]


@asking
def map_(daemon: Daemon, labels: Labels = "", output: MapOutput = MapFormat.TREE) -> None:
    """Draw the node: uplinks, pools, workloads, their links, ports and limits, and what is not as wished.

    The SVG file and the HTML page are self-contained, and can be sent to others.
    """
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> tuple[pb.StatusResponse, list[pb.Attachment]]:
        return await client.status(without_pools=True), [it async for it in client.list(selector=labels)]

    status, attachments = call(daemon, ask)
    if output is MapFormat.TREE:
        from netplumb.api.cli.layout import printer
        from netplumb.api.map.picture import picture
        from netplumb.api.map.tree import tree

        printer()(tree(picture(status, attachments)))
        return
    if output is MapFormat.JSON:
        from netplumb.api.cli.options import Format
        from netplumb.api.cli.plain import plain, serialised

        typer.echo(
            serialised({"node": plain(status), "attachments": list(map(plain, attachments))}, Format.JSON), nl=False
        )
        return
    from netplumb.api.map import page

    typer.echo((page.alone if output is MapFormat.SVG else page.still)(status, attachments))
