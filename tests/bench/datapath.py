"""`python -m tests.bench datapath`: what ports and guards cost, in the kernel's path and for who changes them.

All are ratios of one run: mappings and connections beside thousands of mappings to those beside one, a thousand
mappings one by one, the last hundred to the first, and a stream between two workloads to one between bare veth pairs.
Exits with 1 when a ratio is beyond what is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.servers import daemon
from tests.e2e import wishes
from tests.e2e.echoes import serving
from tests.e2e.hosts import Host, temporary
from tests.e2e.streams import open_socket

WORKLOADS = 50
MAPPINGS_EACH = 100
RANGES = 100
RANGE_SIZE = 10
FIRST_PORT, FIRST_RANGE = 10_000, 20_000
COMPARED = 100
CONNECTIONS = 300
STREAM_S = 3
ROUNDS = 3

NODE_IP, OUTSIDE_IP = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure beside the one that it is compared with; `most` is what is still done, above or below."""

    what: str
    before: float
    after: float
    unit: str
    most: float
    falling: bool = False

    @property
    def value(self) -> float:
        return self.after / self.before

    @property
    def is_done(self) -> bool:
        return self.value >= self.most if self.falling else self.value <= self.most


async def change_ms(client: AsyncClient, host: Host, ports: list[str]) -> float:
    """How long it takes to change the mappings of a live attachment."""
    started = perf_counter()
    await client.attach(wishes.attach(host, ports=ports))
    return (perf_counter() - started) * 1000


def connect_us(outside: Host) -> float:
    """A connection to a mapped port, made and ended: what looks the mapping up is its first packet."""
    times = []
    for _ in range(CONNECTIONS):
        with open_socket(outside, NODE_IP, socket.SOCK_STREAM) as asking:
            started = perf_counter()
            asking.connect((NODE_IP, FIRST_PORT))
            times.append((perf_counter() - started) * 1e6)
    return median(times)


async def mappings(client: AsyncClient, outside: Host, hosts: list[Host], extra: Host) -> list[Ratio]:
    """Before and after there are thousands of mappings and a hundred ranges: what one more costs its writer, and what
    looking one up costs a connection."""
    first, *_ = hosts
    await client.attach(wishes.attach(extra))
    await client.attach(wishes.attach(first, ports=[f"{FIRST_PORT}:80"]))
    with serving(first, 80, protocols=("tcp",)):
        added_first = [await change_ms(client, extra, [f"{40_000 + number}:80"]) for number in range(COMPARED)]
        connected_first = connect_us(outside)
        for mine, host in enumerate(hosts):
            ports = [f"{FIRST_PORT + mine + step * len(hosts)}:80" for step in range(MAPPINGS_EACH)]
            for number in range(mine, RANGES, len(hosts)):
                start = FIRST_RANGE + number * RANGE_SIZE
                ports.append(f"{start}-{start + RANGE_SIZE - 1}:{start}-{start + RANGE_SIZE - 1}")
            await client.attach(wishes.attach(host, ports=ports))
        connected_last = connect_us(outside)
        added_last = [await change_ms(client, extra, [f"{41_000 + number}:80"]) for number in range(COMPARED)]
    beside = f"beside {WORKLOADS * MAPPINGS_EACH} and {RANGES} ranges to beside one"
    return [
        Ratio(f"a mapping changed, {beside}", median(added_first), median(added_last), "ms", 1.5),
        Ratio(f"a connection to a mapped port, {beside}", connected_first, connected_last, "us", 1.3),
    ]


async def one_by_one(client: AsyncClient, hosts: list[Host]) -> Ratio:
    """A thousand mappings, each an Attach of its own."""
    for host in hosts:
        await client.attach(wishes.attach(host))
    times = [await change_ms(client, host, [f"{50_000 + number}:80"]) for number, host in enumerate(hosts)]
    for round_ in range(1, 1000 // len(hosts)):
        for number, host in enumerate(hosts):
            ports = [f"{50_000 + number + step * len(hosts)}:80" for step in range(round_ + 1)]
            times.append(await change_ms(client, host, ports))
    first, last = median(times[:COMPARED]), median(times[-COMPARED:])
    return Ratio("1,000 mappings one by one, the last hundred to the first", first, last, "ms", 1.5)


@contextmanager
def bare_pair() -> Iterator[tuple[Host, Host, str]]:
    """Two namespaces joined by two veth pairs over a third that routes, with nothing else in the way."""
    with temporary("bare-node") as node, temporary("bare-a") as one, temporary("bare-b") as other:
        node.set_sysctl("net/ipv4/ip_forward", "1")
        for number, host in enumerate((one, other)):
            node.ip(f"link add v{number} type veth peer name eth0 netns {host.name}")
            node.ip(f"link set v{number} up")
            node.ip(f"address add 10.1.{number}.1/24 dev v{number}")
            host.ip("link set eth0 up")
            host.ip(f"address add 10.1.{number}.2/24 dev eth0")
            host.ip(f"route add default via 10.1.{number}.1")
        yield one, other, "10.1.1.2"


def stream_gbit(source: Host, target: Host, address: str) -> float:
    server = subprocess.Popen(target.command("iperf3", "-s", "-1"), stdout=subprocess.DEVNULL)
    try:
        for _ in range(50):
            said = json.loads(source.run(f"iperf3 -J -c {address} -t {STREAM_S} --connect-timeout 1000", ok=False))
            if "error" not in said:
                return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9
        raise AssertionError(said["error"])
    finally:
        server.kill()
        server.wait()


async def throughput(client: AsyncClient, one: Host, other: Host) -> Ratio:
    """With every guard on, and a mapping and both workloads open to each other, so that each rule is passed."""
    await client.attach(wishes.attach(one, isolate_node=True, isolate_workloads=False))
    wish = wishes.attach(other, isolate_node=True, isolate_workloads=False, ports=("9999:99",))
    address = wishes.v4(await client.attach(wish))
    through, bare = [], []
    with bare_pair() as (bare_one, bare_other, bare_address):
        for _ in range(ROUNDS):
            bare.append(await asyncio.to_thread(stream_gbit, bare_one, bare_other, bare_address))
            through.append(await asyncio.to_thread(stream_gbit, one, other, address))
    what = "a TCP stream between workloads to one over bare veth pairs"
    return Ratio(what, median(bare), median(through), "Gbit/s", 0.9, falling=True)


async def measure(directory: Path) -> list[Ratio]:
    async with AsyncExitStack() as stack:
        node, outside = (stack.enter_context(temporary(name)) for name in ("node", "outside"))
        node.ip("link add up0 type veth peer name eth0 netns outside")
        for host, link, address in ((node, "up0", NODE_IP), (outside, "eth0", OUTSIDE_IP)):
            host.ip("link set lo up")
            host.ip(f"link set {link} up")
            host.ip(f"address add {address}/24 dev {link}")
        names = [*(f"map-{n}" for n in range(WORKLOADS)), *(f"one-{n}" for n in range(100)), "extra", "from", "to"]
        hosts = {name: stack.enter_context(temporary(name)) for name in names}
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        async with running.client() as client:
            found = [await throughput(client, hosts["from"], hosts["to"])]
            found += await mappings(client, outside, [hosts[f"map-{n}"] for n in range(WORKLOADS)], hosts["extra"])
            found.append(await one_by_one(client, [hosts[f"one-{n}"] for n in range(100)]))
            return found


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It has none: what is compared is fixed."""


def run(_: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        found = asyncio.run(measure(Path(directory)))
    print(f"load before {load_before:.1f}")
    for it in found:
        limit = f"at {'least' if it.falling else 'most'} {it.most}"
        print(f"{it.what}: {it.before:.2f} -> {it.after:.2f} {it.unit}, {it.value:.2f} times ({limit})")
    return 0 if all(it.is_done for it in found) else 1
