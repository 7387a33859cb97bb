"""The measurement: rounds of daemon and floor in turn, so that a drift of the machine meets both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import Call, Timed, attach, detach, timed
from tests.bench.floor import Floor
from tests.bench.plugin import Plugin
from tests.e2e.hosts import Host

PLUGIN_CALLS = 50
"""Of each command in a round; starting programs takes long."""

SETTLE_S = 0.3  # the daemon's and the kernel's late work of one part is not to fall into the next


@dataclass(slots=True)
class Samples:
    """What was measured under each name, one entry a round."""

    rounds: dict[str, list[Timed]] = field(default_factory=dict)

    def add(self, name: str, timed: Timed) -> None:
        self.rounds.setdefault(name, []).append(timed)

    def pooled(self, name: str) -> list[float]:
        return [seconds for one in self.rounds[name] for seconds in one.each]


@dataclass(frozen=True, slots=True)
class Bench:
    """All that takes part. `one` and `many` are clients of the daemon, `nothing` those of the idle server."""

    floor: Floor
    workloads: Sequence[Host]
    as_new: Callable[[], None]
    one: Sequence[AsyncClient]
    many: Sequence[AsyncClient]
    nothing: Sequence[AsyncClient]
    plugin: Plugin

    async def round(self, samples: Samples) -> None:
        """Each of the daemon's parts stands between two of the floor's."""
        attaches = [attach(workload) for workload in self.workloads]
        detaches = [detach(workload) for workload in self.workloads]
        for clients, name in ((self.one, "1"), (self.many, str(len(self.many)))):
            await self._idle_calls(samples, attaches, len(clients), name)
            await self._floor(samples)
            await self._part(samples, f"attach {name}", clients, attaches)
            await self._part(samples, f"detach {name}", clients, detaches)
            if name == "1":
                await self._plugin(samples)

    async def _plugin(self, samples: Samples) -> None:
        self.as_new()
        await asyncio.sleep(SETTLE_S)
        starts, adds = self.plugin.adds(self.workloads[:PLUGIN_CALLS])
        samples.add("python", starts)
        samples.add("plugin add", adds)
        await asyncio.sleep(SETTLE_S)
        samples.add("plugin del", self.plugin.deletes(self.workloads[:PLUGIN_CALLS]))

    async def _part(self, samples: Samples, name: str, clients: Sequence[AsyncClient], calls: Sequence[Call]) -> None:
        if name.startswith("attach"):
            self.as_new()
        await asyncio.sleep(SETTLE_S)
        samples.add(name, await timed(clients, calls))

    async def _idle_calls(self, samples: Samples, calls: Sequence[Call], count: int, name: str) -> None:
        await asyncio.sleep(SETTLE_S)
        samples.add(f"call {name}", await timed(self.nothing[:count], calls))

    async def _floor(self, samples: Samples) -> None:
        self.as_new()
        for name, work in (("floor attach", self.floor.attach), ("floor detach", self.floor.detach)):
            await asyncio.sleep(SETTLE_S)
            each = work()
            samples.add(name, Timed(each, sum(each)))
