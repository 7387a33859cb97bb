"""`python -m tests.bench policy`: what network policies cost, to load, to attach beside, in the kernel's path.

All are ratios of one run on two nodes with thousands of workloads each: one without any policy, one with hundreds, by
dozens of labels, all in one namespace. Exits with 1 when a ratio is beyond what is done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time

from rich.console import Console

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.bench.calls import Call, connected, detach, timed
from tests.bench.datapath import Ratio
from tests.bench.policy.measured import Measured, record
from tests.bench.scale import SETTLE_S, measured_resync_s, quiet
from tests.bench.servers import daemon
from tests.bench.soak import made
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.streams import open_socket
from tests.e2e.waiting import until
from tests.e2e.wishes import v4
from tests.footprint import cpu_s, footprint

PORT, SINK = 9000, 9001
ROUNDS, RESYNCS = 12, 5
CONNECTIONS, PACKETS, PATH_ROUNDS = 100, 2_000, 80  # short ones, of which the best had the processor to itself
WITHIN_S = 300.0
NO_RESYNC = "--resync-s=3600"  # what is measured is not to share the processor with one
ATTACH_MOST, PATH_LEAST = 1.3, 0.9


def labelled(host: Host, label: int) -> Call:
    request = _request(host, label)
    return lambda client: client.attach(request)


def _request(host: Host, label: int) -> pb.AttachRequest:
    netns = pb.NetNSAttachment(netns_path=host.path)
    return pb.AttachRequest(workload_id=host.name, netns=netns, labels={"app": f"a{label}"})


def policies(count: int, labels: int) -> str:
    """Each label is selected by some of them, which allow two labels each and a few ports."""
    return "---\n".join(
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{number}}}\n"
        f"spec:\n  podSelector: {{matchLabels: {{app: a{number % labels}}}}}\n  ingress:\n"
        f"  - from: [{{podSelector: {{matchLabels: {{app: a{(number + 1) % labels}}}}}}}, "
        f"{{podSelector: {{matchLabels: {{app: a{number * 7 % labels}}}}}}}]\n"
        f"    ports: [{{port: {1000 + number}, endPort: {1010 + number}}}, {{port: {PORT}}}, "
        f"{{protocol: UDP, port: {SINK}}}]\n"
        for number in range(count)
    )


@dataclass(frozen=True, slots=True)
class Side:
    """A node with policies, or one without; the probes are attached to be timed. Rounds on either take turns, so that
    whatever else the machine does meets both."""

    node: Host
    running: Daemon
    clients: Sequence[AsyncClient]
    fill: Sequence[Host]
    probes: Sequence[Host]
    labels: int
    addresses: list[str] = field(default_factory=list)
    """Of the first of its workloads, to whom the second sends."""

    @property
    def client(self) -> AsyncClient:
        return self.clients[0]

    async def fill_up(self) -> None:
        await timed(self.clients, [labelled(host, number % self.labels) for number, host in enumerate(self.fill)])
        # The policy of label 0 allows label 1.
        self.addresses.append(v4(await self.client.attach(_request(self.fill[0], 0))))

    async def attach_ms(self) -> tuple[float, float]:
        """What one more Attach takes, and the daemon's CPU for it."""
        calls = [labelled(host, number % self.labels) for number, host in enumerate(self.probes)]
        await asyncio.sleep(SETTLE_S)
        spent_s = cpu_s(self.running.process.pid)
        each = (await timed([self.client], calls)).each
        spent_s = cpu_s(self.running.process.pid) - spent_s
        await timed([self.client], map(detach, self.probes))
        return median(each) * 1e3, spent_s / len(each) * 1e3

    async def resync_ms(self) -> float:
        spent_s = await quiet(self.running)
        await measured_resync_s(self.running, self.client)
        return (await quiet(self.running) - spent_s) * 1e3

    async def connect_us(self) -> float:
        return await asyncio.to_thread(_connect_us, self.fill[1], self.fill[0], self.addresses[0])

    async def packets_s(self) -> float:
        return await asyncio.to_thread(_packets_s, self.fill[1], self.fill[0], self.addresses[0])


@dataclass(frozen=True, slots=True)
class Figures:
    """Those of the quickest rounds, since whatever else the machine does only adds to them."""

    attach_ms: float
    attach_cpu_ms: float
    connect_us: float
    packets_s: float
    resync_ms: float
    rss_kib: int


async def figures(sides: Sequence[Side]) -> list[Figures]:
    attached = [[await side.attach_ms() for side in sides] for _ in range(ROUNDS)]
    connected = [[await side.connect_us() for side in sides] for _ in range(PATH_ROUNDS)]
    packets = [[await side.packets_s() for side in sides] for _ in range(PATH_ROUNDS)]
    resynced = [[await side.resync_ms() for side in sides] for _ in range(RESYNCS)]
    return [
        Figures(
            min(time_ms for time_ms, _ in attaches),
            min(spent_ms for _, spent_ms in attaches),
            min(connects),
            max(sent),
            min(resyncs),
            footprint(side.running.process.pid).rss_kib,
        )
        for side, attaches, connects, sent, resyncs in zip(
            sides, *(zip(*it, strict=True) for it in (attached, connected, packets, resynced)), strict=True
        )
    ]


def _connect_us(source: Host, destination: Host, address: str) -> float:
    """The kernel's way alone: nobody accepts, so that the three packets go their way within the call that connects, and
    no other thread has a part in it. What others take of the processor meanwhile is not counted."""
    with ExitStack() as stack:
        asking = [stack.enter_context(open_socket(source, address, socket.SOCK_STREAM)) for _ in range(CONNECTIONS)]
        with open_socket(destination, address, socket.SOCK_STREAM) as listening:  # its end resets what it never took
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("0.0.0.0", PORT))
            listening.listen(CONNECTIONS)
            started_s = thread_time()
            for each in asking:
                each.connect((address, PORT))
            return (thread_time() - started_s) / CONNECTIONS * 1e6


def _packets_s(source: Host, destination: Host, address: str) -> float:
    """Datagrams go all their way within the call that sends them."""
    with (
        open_socket(destination, address, socket.SOCK_DGRAM) as sink,
        open_socket(source, address, socket.SOCK_DGRAM) as asking,
    ):
        sink.bind(("0.0.0.0", SINK))
        asking.connect((address, SINK))
        started_s = thread_time()
        for _ in range(PACKETS):
            asking.send(b"x" * 64)
        took_s = thread_time() - started_s
        sink.settimeout(1.0)
        assert sink.recv(128), "they are allowed"
        return PACKETS / took_s


async def made_side(stack: AsyncExitStack, name: str, directory: Path, given: argparse.Namespace) -> Side:
    fill, probes = made(stack, f"{name}-workload", given.attachments), made(stack, f"{name}-probe", given.probes)
    node = stack.enter_context(temporary(f"{name}-node"))
    running = await stack.enter_async_context(daemon(node, directory / name, more_flags=NO_RESYNC))
    clients = await stack.enter_async_context(connected(running.socket, 16))
    side = Side(node, running, clients, fill, probes, given.labels)
    await side.fill_up()
    return side


async def loaded_s(side: Side, count: int) -> float:
    """Until so many policies are enforced."""
    started = perf_counter()
    (side.running.state_files / "policies.yaml").write_text(policies(count, side.labels))

    async def in_force() -> bool:
        selected = {it.workload_id for policy in await side.client.policies() for it in policy.selects}
        chains = side.node.run("nft list chains inet").count("chain ingress_by_")
        return len(selected) == len(side.fill) and chains == count

    await until(in_force, "all policies are in force", within_s=WITHIN_S)
    return perf_counter() - started


async def measure(directory: Path, given: argparse.Namespace, busy: float) -> Measured:
    async with AsyncExitStack() as stack:
        bare = await made_side(stack, "bare", directory, given)
        policed = await made_side(stack, "policed", directory, given)
        load_s = await loaded_s(policed, given.policies)
        before, after = await figures((bare, policed))
        change = await timed([policed.client], [labelled(policed.fill[2], it % given.labels) for it in range(3, 53)])
        packets = before.packets_s, after.packets_s
        ratios = [
            Ratio("one more Attach (ms)", before.attach_ms, after.attach_ms, "ms", ATTACH_MOST),
            Ratio("the daemon's CPU for it (ms)", before.attach_cpu_ms, after.attach_cpu_ms, "ms", ATTACH_MOST),
            Ratio("a resync, the daemon's CPU (ms)", before.resync_ms, after.resync_ms, "ms", ATTACH_MOST),
            Ratio(
                "connections a second of the kernel's time",
                1e6 / before.connect_us,
                1e6 / after.connect_us,
                "/s",
                PATH_LEAST,
                True,
            ),
            Ratio("packets of 64 bytes a second of the kernel's time", *packets, "/s", PATH_LEAST, True),
        ]
        return Measured(
            f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {busy:.1f} before",
            busy,
            given.attachments,
            given.policies,
            given.labels,
            ratios,
            load_s,
            median(change.each) * 1e3,
            (before.rss_kib / 1024, after.rss_kib / 1024),
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attachments", type=int, default=2000, help="workloads (%(default)s)")
    parser.add_argument("--policies", type=int, default=500, help="policies (%(default)s)")
    parser.add_argument("--labels", type=int, default=50, help="labels (%(default)s)")
    parser.add_argument("--record", action="store_true", help="keep the numbers for docs/policy.md")
    parser.add_argument("--probes", type=int, default=50, help="how many are attached to be timed (%(default)s)")


def run(given: argparse.Namespace) -> int:
    busy = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        found = asyncio.run(measure(Path(directory), given, busy))
    _show(found)
    if given.record:
        record(found)
    return 0 if all(it.is_done for it in found.ratios) else 1


def _show(found: Measured) -> None:
    console = Console(highlight=False)
    console.print(f"{found.attachments} workloads, {found.policies} policies, {found.labels} labels; {found.machine}")
    for it in found.ratios:
        style = "" if it.is_done else "bold red"
        console.print(f"{it.what}: {it.before:.2f} without, {it.after:.2f} with: {it.value:.2f}", style=style)
    console.print(f"load all, until enforced: {found.load_s:.1f} s")
    console.print(f"change one label: {found.label_ms:.2f} ms")
    console.print("memory: {:.0f} MiB before, {:.0f} MiB after".format(*found.memory_mib))
