"""The command `netplumb` with one part of it taken away, to show what that part is for:

    python -m tests.damage.altered deaf daemon …

`relentless` never waits with a repair, whoever undoes it and whatever that takes. `deaf` hears of nothing that happens
to the kernel either, so that what is repaired is repaired by a resync, however much was damaged before.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

from netplumb.reconciler import main, wiring
from netplumb.reconciler.kernel.rtnetlink.listener import Event, Listener
from netplumb.reconciler.pacing import budgets, fights
from netplumb.reconciler.watch.nodenetwork import NetworkWatch

PROGRAMS = {name: (sys.executable, "-m", "tests.damage.altered", name) for name in ("deaf", "relentless")}


def _deaf() -> None:
    _relentless()
    drain = Listener.drain

    def hear_nothing(self: Listener, *how: Any) -> Iterator[Event | None]:
        for _ in drain(self, *how):
            pass
        return iter(())

    async def look_at_nothing(*_: object) -> None:
        await asyncio.Event().wait()

    mock.patch.object(Listener, "drain", hear_nothing).start()
    # Private, but a listener that hears nothing would not do: the daemon then asks the kernel for its generation.
    mock.patch.object(wiring.Parts, "hear_nftables", lambda self: self.nft_listener.drain()).start()
    mock.patch.object(wiring, "watch_proxies", look_at_nothing).start()
    # A resync asks for a look at the node's network, which pauses between looks, the longer the slower the machine is:
    # one that the last resync asked for may be what sees the next damage. A reload looks for itself, and at once.
    mock.patch.object(NetworkWatch, "run", look_at_nothing).start()


def _relentless() -> None:
    mock.patch.object(fights, "PAUSE_FIRST_S", 0.0).start()
    mock.patch.object(budgets, "SHARE", 1e6).start()


if __name__ == "__main__":
    {"deaf": _deaf, "relentless": _relentless}[sys.argv.pop(1)]()
    main.main()
