"""Nodes on one link, each with the real daemon, and a real etcd on the same link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.cluster.etcds import Etcd, Secured, running
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.nodes import POOLS, UNDERLAY, Lan, Machine, lan
from tests.e2e.waiting import until

WITHIN_S = 20.0


@dataclass(slots=True)
class Site:
    lan: Lan
    etcd: Etcd

    @property
    def machines(self) -> list[Machine]:
        return self.lan.machines

    def cluster(self, machine: Machine, **more: Any) -> dict[str, Any]:
        """The setting, of one node."""
        return {
            "endpoints": list(self.etcd.endpoints),
            "node_name": machine.name,
            "mode": self.lan.mode,
            "lease_s": 3,
            "silence_s": 2,
            **more,
        }


async def status(machine: Machine) -> pb.StatusResponse:
    async with machine.client() as client:
        return await client.status(without_pools=True)


async def conditions(machine: Machine) -> dict[str, str]:
    """What the node tells of itself that is true, with its message."""
    return {it.type: it.message for it in (await status(machine)).conditions if it.status}


async def held(machine: Machine) -> list[str]:
    return [it.name for it in (await status(machine)).pools]


@asynccontextmanager
async def site(
    count: int,
    directory: Path,
    *,
    mode: str = "routes",
    members: int = 1,
    secured: Secured | None = None,
    pools: Sequence[dict[str, Any]] = tuple({"cidr": cidr} for cidr in POOLS),
    daemon: Callable[[Host, Path], Daemon] = Daemon,
    cluster: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Site]:
    """With all daemons started, each with its prefixes and ways to all others; each member of etcd is a machine."""
    with (
        lan(count, mode, directory) as link,
        _seats(link, members) as seats,
        running(seats=seats, console=link.outside, secured=secured) as etcd,
    ):
        it = Site(link, etcd)
        for machine in link.machines:
            machine.daemon = daemon(machine.host, machine.daemon.directory)
            machine.daemon.configure(pools=(), cluster=it.cluster(machine, pools=list(pools), **cluster), **settings)
        try:
            for machine in link.machines:
                await machine.daemon.start(ready=False)
            for machine in link.machines:
                await until(partial(_is_joined, machine, len(pools)), f"{machine.name} has joined", within_s=WITHIN_S)
            yield it
        except BaseException:
            for machine in link.machines:
                print(machine.name, machine.daemon.logged()[-6000:])
            raise


@contextmanager
def _seats(link: Lan, count: int) -> Iterator[list[tuple[Host, str]]]:
    """Machines on the link for members of etcd, so that each may be cut off by itself."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            host, address = stack.enter_context(temporary(f"etcd{number}")), f"192.0.2.{200 + number}"
            host.ip("link set lo up")
            host.ip(f"link add {UNDERLAY} type veth peer name e{number} netns {link.outside.name}")
            link.outside.ip(f"link set e{number} master br0 up")
            host.ip(f"link set {UNDERLAY} up")
            host.ip(f"address add {address}/24 dev {UNDERLAY}")
            found.append((host, address))
        yield found


@contextmanager
def cut(host: Host, *, peers: Iterable[str] = ()) -> Iterator[None]:
    """What it sends and is sent by these addresses, or by anybody, is lost, and nobody is told: connections stay."""
    peers = tuple(peers)
    ends = [("input", "saddr"), ("output", "daddr")]
    for hook, end in ends:
        match = f"ip {end} {{ {', '.join(peers)} }}" if peers else ("iif != lo" if hook == "input" else "oif != lo")
        chain = f"chain {hook} {{ type filter hook {hook} priority 0; {match} drop; }};"
        host.run(f"nft 'table inet cut {{ {chain} }}'")
    try:
        yield
    finally:
        host.run("nft delete table inet cut")


async def _is_joined(machine: Machine, wanted: int) -> bool:
    if len(await held(machine)) < wanted:
        return False
    async with machine.client() as client:
        return not (await client.plan()).changes
