"""Looks at other tables' forward chains: at the start, and after somebody else committed to the ruleset.

A listing of a large ruleset takes long, so it is read in a thread, and at most once a second.
"""

from __future__ import annotations

import asyncio

import structlog

from netplumb.models.errors import StepError
from netplumb.models.status import Condition
from netplumb.reconciler.decide import firewalls
from netplumb.reconciler.kernel.libnftables import Libnftables
from netplumb.reconciler.kernel.nftjson import TABLE

PAUSE_S = 1.0

log = structlog.get_logger(__name__)


class FirewallWatch:
    """`condition` is that of the last look."""

    def __init__(self) -> None:
        self._nft = Libnftables()
        self._due = asyncio.Event()
        self._due.set()
        self.condition = firewalls.condition(())

    def close(self) -> None:
        self._nft.close()

    def mark(self) -> None:
        """Something may have changed."""
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                found = firewalls.condition(await asyncio.to_thread(self._blocking))
            except StepError as error:
                log.warning("foreign firewalls cannot be read", cause=str(error))
            else:
                self._tell(found)
            await asyncio.sleep(PAUSE_S)

    def _blocking(self) -> list[firewalls.Blocked]:
        """Tables without a forward chain are not read."""
        listed = self._nft.run([{"list": {"chains": None}}])
        hooked = {
            (chain["family"], chain["table"])
            for thing in listed
            if (chain := thing.get("chain")) is not None and chain.get("hook") == "forward" and chain["table"] != TABLE
        }
        things = [
            thing
            for family, name in sorted(hooked)
            for thing in self._nft.run([{"list": {"table": {"family": family, "name": name}}}])
        ]
        return firewalls.blocking(things)

    def _tell(self, found: Condition) -> None:
        if found.status and found.message != self.condition.message:
            log.warning("a foreign firewall drops what is forwarded for workloads", cause=found.message)
        self.condition = found
