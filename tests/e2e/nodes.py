"""Several nodes on one link, each with the real daemon, which a file tells of the others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.daemons import Daemon, under_unit_rights
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host, temporary
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

POOLS = ("10.128.0.0/14", "fd80::/48")
UNDERLAY = "up0"
UNDERLAYS = {4: "192.0.2.{}", 6: "2001:db8::{}"}
GATEWAY_V4, GATEWAY_V6 = "192.0.2.254", "2001:db8::fe"
DEVICE = "np-vxlan"
VIEW = "cluster-view.json"


TOLD = ForkServer("tests.e2e.told", rights=under_unit_rights())


class ToldDaemon(Daemon):
    """The daemon that a file tells of its cluster."""

    def arguments(self) -> list[str]:
        return [str(self.directory / VIEW), *super().arguments()]


@dataclass(slots=True)
class Machine:
    """One node: its namespace, its daemon, and what it tells others of itself."""

    number: int
    host: Host
    daemon: Daemon
    underlay: tuple[str, ...]
    made: ExitStack
    workloads: list[Host] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def prefixes(self) -> tuple[str, str]:
        return f"10.128.{self.number}.0/24", f"fd80:0:0:{self.number}::/64"

    @property
    def own_v4(self) -> str:
        return f"10.128.{self.number}.1"

    @property
    def own_v6(self) -> str:
        return f"fd80:0:0:{self.number}::1"

    def record(self) -> dict[str, Any]:
        return {"underlay": list(self.underlay), "prefixes": list(self.prefixes)}

    def workload(self, name: str) -> Host:
        """A namespace for one."""
        return self.made.enter_context(temporary(name))

    def client(self) -> AsyncClient:
        return self.daemon.client()

    async def attach(self, name: str, **wish: Any) -> tuple[Host, pb.AttachResponse]:
        host = self.workload(name)
        async with self.client() as client:
            return host, await client.attach(attach(host, **wish))


@dataclass(slots=True)
class Lan:
    """The nodes, and a host on the same link that knows nothing of their workloads."""

    machines: list[Machine]
    outside: Host
    mode: str

    def tell(self, *, peers: dict[str, Any] | None = None) -> None:
        """Tells each node of the others as they are, or as they are said to be."""
        records = {it.name: it.record() for it in self.machines} | (peers or {})
        for it in self.machines:
            others = {name: record for name, record in records.items() if name != it.name and record is not None}
            told = {"node": it.name, "mode": self.mode, "pools": list(POOLS), **it.record(), "peers": others}
            file = it.daemon.directory / VIEW
            draft = file.with_suffix(".draft")
            draft.write_text(json.dumps(told))
            draft.replace(file)

    async def settled(self, *machines: Machine) -> None:
        for it in machines or self.machines:
            async with it.client() as client:

                async def in_sync(client: AsyncClient = client) -> bool:
                    return not (await client.plan()).changes

                await until(in_sync, f"{it.name} is as it should be")


def wire(host: Host, number: int, outside: Host, families: Iterable[int] = (4, 6)) -> None:
    """Puts a bare host on the link."""
    host.ip("link set lo up")
    host.ip(f"link add {UNDERLAY} type veth peer name n{number} netns {outside.name}")
    host.set_sysctl(f"net/ipv6/conf/{UNDERLAY}/accept_dad", "0")
    outside.ip(f"link set n{number} master br0 up")
    host.ip(f"link set {UNDERLAY} up")
    for version in families:
        rest, gateway = ("/24", GATEWAY_V4) if version == 4 else ("/64", GATEWAY_V6)
        nodad = "" if version == 4 else "nodad"
        host.ip(f"address add {UNDERLAYS[version].format(number)}{rest} dev {UNDERLAY} {nodad}")
        host.ip(f"-{version} route add default via {gateway}")


@contextmanager
def lan(count: int, mode: str, directory: Path, *, families: Iterable[int] = (4, 6), **settings: Any) -> Iterator[Lan]:
    families = tuple(families)
    with ExitStack() as stack:
        outside = stack.enter_context(temporary("lan"))
        outside.ip("link add br0 type bridge")
        outside.ip("link set lo up")
        outside.set_sysctl("net/ipv6/conf/br0/accept_dad", "0")
        outside.ip("link set br0 up")
        outside.ip(f"address add {GATEWAY_V4}/24 dev br0")
        outside.ip(f"address add {GATEWAY_V6}/64 dev br0 nodad")
        machines = []
        for number in range(1, count + 1):
            host = stack.enter_context(temporary(f"node{number}"))
            wire(host, number, outside, families)
            where = directory / f"n{number}"
            where.mkdir()
            daemon = ToldDaemon(host, where, pools=(), server=TOLD)
            cluster = {
                "endpoints": ["http://127.0.0.1:1"],
                "node_name": f"node-{number}",
                "mode": mode,
                "pools": [{"cidr": cidr} for cidr in POOLS],
            }
            daemon.configure(pools=(), cluster=cluster, **settings)
            underlay = tuple(UNDERLAYS[version].format(number) for version in families)
            machines.append(Machine(number, host, daemon, underlay, stack))
        try:
            yield Lan(machines, outside, mode)
        finally:
            for it in machines:
                it.daemon.end()


@asynccontextmanager
async def running(
    count: int, mode: str, directory: Path, *, families: Iterable[int] = (4, 6), **settings: Any
) -> AsyncIterator[Lan]:
    """With all daemons started and told of each other."""
    with lan(count, mode, directory, families=families, **settings) as site:
        try:
            site.tell()
            for it in site.machines:
                it.daemon.spawn()
            for it in site.machines:
                await it.daemon.ready()
            await site.settled()
            yield site
        except BaseException:
            for it in site.machines:
                print(it.name, it.daemon.logged()[-6000:])
            raise
