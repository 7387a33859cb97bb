"""The command `netplumb wait`: until attachments are as one wants them, for scripts that go on then."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.options import Daemon, Labels, Workloads, asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netplumb.api.cli.keys import Key
    from netplumb.api.client.asynchronous import AsyncClient


class Until(StrEnum):
    ATTACHED = "attached"
    DETACHED = "detached"
    DELETE = "delete"


For: TypeAlias = Annotated[
    Until, typer.Option("--for", help="What to wait for: attached, or detached, which delete means too.")
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="All that are there, and all that come meanwhile.")]


@asking
def wait(
    daemon: Daemon,
    workloads: Workloads = None,
    for_: For = Until.ATTACHED,
    labels: Labels = "",
    all_: All = False,
) -> None:
    """Wait until attachments are in the kernel, or gone from it. After --timeout it exits 6 and says what is missing.

    What is named does not have to exist yet. With -l or --all, at least one attachment has to exist.
    """
    if sum((bool(workloads), bool(labels), all_)) != 1:
        raise typer.BadParameter("say either workloads, or -l, or --all", param_hint="WORKLOAD[/IF]")

    import asyncio

    from netplumb.api.cli import keys
    from netplumb.api.cli.call import call, fail
    from netplumb.api.cli.exits import Exit
    from netplumb.api.cli.lines import say
    from netplumb.api.cli.waiting import Waiting

    asked = [keys.readings(word, "")[0] for word in workloads or ()]
    waiting = Waiting(asked, gone=for_ is not Until.ATTACHED)

    async def follow(client: AsyncClient) -> Sequence[Key]:
        async for told in client.watch(labels):
            if waiting.over(told):
                return waiting.met
        return ()

    async def ask(client: AsyncClient) -> Sequence[Key]:
        return await asyncio.wait_for(follow(client), daemon.timeout_s)

    try:
        met = call(daemon, ask)
    except TimeoutError:
        fail(f"after {daemon.timeout_s:g} s: {waiting.missing}", Exit.TIMEOUT)
    if not met and not asked and for_ is Until.ATTACHED:
        fail("there is nothing to wait for", Exit.NOT_FOUND)
    for key in met:
        say(f"{key} {'attached' if for_ is Until.ATTACHED else 'detached'}")
