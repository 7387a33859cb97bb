"""The command `netplumb events`: what happened, and what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.completion import workloads
from netplumb.api.cli.durations import duration_s
from netplumb.api.cli.options import Daemon, Format, Output, asking

if TYPE_CHECKING:
    from collections.abc import Callable

    from netplumb.api.v1 import netplumb_pb2 as pb

About = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD[/IF]",
        help="A workload, or one interface of it; everything without it.",
        autocompletion=workloads,
    ),
]


@asking
def events(
    daemon: Daemon,
    about: About = "",
    since: Annotated[
        float | None,
        typer.Option(parser=duration_s, metavar="DURATION", help="Only what is not older, such as 90s, 15m or 2d."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened, the oldest first: attached, repaired, retried, refused, and changes of the node.

    A bounded number of events is kept, until the next boot. With -o json each is one line.
    """
    import time
    from contextlib import suppress

    from netplumb.api.cli import keys, occurrences
    from netplumb.api.cli.call import call
    from netplumb.api.client.asynchronous import AsyncClient

    begin = time.time() - since if since is not None else 0.0

    async def show(client: AsyncClient) -> None:
        print_one: Callable[[pb.Event], None] = occurrences.printer(output)
        meant = await keys.of_events(client, about, may_come=follow)
        async for event in client.events(meant, begin, follow=follow):
            print_one(event)

    with suppress(KeyboardInterrupt):
        call(daemon, show)
