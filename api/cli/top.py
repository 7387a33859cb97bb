"""The command `netplumb top`: what each workload receives and sends, refreshed."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.durations import timeout_s
from netplumb.api.cli.options import Daemon, Format, Labels, Output, asking

if TYPE_CHECKING:
    from netplumb.api.client.asynchronous import AsyncClient


class Sort(StrEnum):
    RATE = "rate"
    TOTAL = "total"
    NAME = "name"


SortBy: TypeAlias = Annotated[Sort, typer.Option("--sort", help="By bits per second, by bytes in all, or by name.")]
Interval: TypeAlias = Annotated[
    float, typer.Option("--interval", parser=timeout_s, metavar="SECONDS", help="How long each look lasts.")
]
Once: TypeAlias = Annotated[bool, typer.Option("--once", help="Look once; so does a command whose output is piped.")]
Most: TypeAlias = Annotated[
    int, typer.Option("--most", "-n", min=0, help="Show so many; 0 for all. On a terminal as many as fit, without it.")
]


@asking
def top(
    daemon: Daemon,
    labels: Labels = "",
    sort: SortBy = Sort.RATE,
    most: Most = 0,
    interval: Interval = 2.0,
    once: Once = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what each workload receives and sends, again every two seconds, until Ctrl-C.

    Counted on its link to the node, seen from the workload, since the link was made.
    """
    import asyncio
    from contextlib import suppress

    from netplumb.api.cli import rates
    from netplumb.api.cli.call import call

    refreshed = sys.stdout.isatty() and not once and output is Format.TABLE

    async def look(client: AsyncClient) -> None:
        before = await client.traffic(labels)
        while True:
            await asyncio.sleep(interval)
            now = await client.traffic(labels)
            found = rates.ordered(rates.rates(before, now), by_total=sort is Sort.TOTAL, by_name=sort is Sort.NAME)
            rates.show(found, output, most, refreshed=refreshed)
            if not refreshed:
                return
            before = now

    with suppress(KeyboardInterrupt):
        call(daemon, look)
