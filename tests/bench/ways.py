"""`python -m tests.bench ways`: what the ways to other nodes cost, for all of them and for one that changes.

In a namespace with an underlay's interface and so many peers, of two prefixes each: the pure part alone, a pass that
makes all, one that finds all as it should be, one over a peer that moves. Exits with 1 when a peer that changes costs
more than a few of all, or touches what is not its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from statistics import quantiles
from time import perf_counter, thread_time

from rich.console import Console
from rich.table import Table

from netplumb.models.cluster import ClusterMode, ClusterView, HeldPrefix, Peer, Underlay
from netplumb.models.network import Node
from netplumb.reconciler.converge.waypass import Done, Work, compare, converge
from netplumb.reconciler.converge.ways import WaysKernel
from netplumb.reconciler.decide.ways import Device, Ground, Way, ground, render_ground, render_peer, steps_of
from netplumb.reconciler.watch.nodenetwork import look
from tests.e2e.hosts import temporary

POOLS = (ip_network("10.128.0.0/14"), ip_network("fd80::/48"))
OWN = (HeldPrefix(POOLS[0], ip_network("10.128.0.0/24")), HeldPrefix(POOLS[1], ip_network("fd80::/64")))
NODE = Node(node_addresses=(ip_address("10.128.0.1"), ip_address("fd80::1")))
UNDERLAY = Underlay(ip_address("172.16.0.1"), ip_address("fd01::1"))
DEVICE = Device("np-vxlan", 78, 4789)
MODES = (ClusterMode.ROUTES, ClusterMode.VXLAN)
ONE_PEER_MOST_MS = 10.0
LINES = (
    "link set lo up",
    "link add under type veth peer name far",
    "link set under up",
    "link set far up",
    "address add 172.16.0.1/16 dev under",
    "address add fd01::1/64 dev under nodad",
    "address add 10.128.0.1/32 dev lo scope link",
    "address add fd80::1/128 dev lo nodad preferred_lft 0",
)


def peer(number: int) -> Peer:
    v4, v6 = IPv4Address(0xAC100001 + number), IPv6Address((0xFD01 << 112) + 1 + number)
    cidrs = (ip_network((0x0A800000 + (number << 8), 24)), ip_network(((0xFD80 << 112) + (number << 64), 64)))
    held = tuple(HeldPrefix(pool, cidr) for pool, cidr in zip(POOLS, cidrs, strict=True))
    return Peer(f"node-{number}", Underlay(v4, v6), held)


@dataclass(frozen=True, slots=True)
class Figure:
    """Times in milliseconds, of the wall and of the thread."""

    what: str
    p50: float
    p99: float
    cpu: float
    steps: int


def timed(what: str, times: int, run: Callable[[int], Done | int]) -> Figure:
    walls, cpu, steps = [], 0.0, 0
    for number in range(times):
        started, worked = perf_counter(), thread_time()
        done = run(number)
        walls.append((perf_counter() - started) * 1e3)
        cpu += (thread_time() - worked) * 1e3
        steps = done if isinstance(done, int) else len(done.steps)
        assert isinstance(done, int) or not done.errors, done.errors[:1]
    cuts = quantiles(walls, n=100, method="inclusive") if times > 1 else [walls[0]] * 99
    return Figure(what, cuts[49], cuts[98], cpu / times, steps)


def figures(mode: ClusterMode, count: int, changes: int, kernel: WaysKernel) -> Iterator[Figure]:
    peers = {it.node: it for it in map(peer, range(1, count + 1))}
    view = ClusterView("node-0", mode, UNDERLAY, POOLS, OWN, peers)
    on = ground(view, DEVICE, NODE, look((), POOLS))
    yield timed("render, and compare with the same (no kernel)", 5, lambda _: _pure(on, peers))
    made = converge(Work(on, ()), kernel, lambda _: False)
    assert not made.errors
    yield timed("make all", 1, lambda _: converge(Work(on, peers.values()), kernel, lambda _: False))
    yield timed("read and compare all, nothing to do", 5, lambda _: compare(Work(on, peers.values()), kernel))
    whole = compare(Work(on, peers.values()), kernel)
    assert whole.seen is not None
    indexes, ways = whole.seen.indexes, dict(whole.ways)

    def one_moves(number: int) -> Done:
        it = peers[f"node-{number % count + 1}"]
        moved = replace(it, underlay=peer(count + 1 + number).underlay)
        done = converge(Work(on, [moved], [ways[it.node]], indexes), kernel, lambda _: False)
        ways.update(done.ways)
        return done

    yield timed("one peer moves to another address", changes, one_moves)

    def one_comes(number: int) -> Done:
        it = peer(count + changes + 1 + number)
        done = converge(Work(on, [it], (), indexes), kernel, lambda _: False)
        gone = converge(Work(on, (), done.ways.values(), indexes), kernel, lambda _: False)
        assert not gone.errors
        assert len(gone.steps) == len(done.steps)
        return done

    yield timed("one comes, and goes again", changes, one_comes)
    assert not converge(Work(replace(on, mode=ClusterMode.NONE), ()), kernel, lambda _: False).errors


def _pure(on: Ground, peers: dict[str, Peer]) -> int:
    ways: list[Way] = [render_ground(on), *(render_peer(it, on) for it in peers.values())]
    there = {thing.key: thing for way in ways for thing in way.things}
    return len(steps_of(ways, there)[0])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", type=int, default=1000, help="other nodes (%(default)s)")
    parser.add_argument("--changes", type=int, default=200, help="how many of one peer are timed (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before, console, slow = os.getloadavg()[0], Console(highlight=False), False
    for mode in MODES:
        table = Table(title=f"{given.peers} peers, mode {mode}; milliseconds")
        table.add_column("what")
        for column in ("p50", "p99", "CPU", "steps"):
            table.add_column(column, justify="right")
        with temporary("node") as host:
            with host.enter():
                for line in LINES:
                    subprocess.run(["ip", *line.split()], check=True)
                kernel = WaysKernel()
                for it in figures(mode, given.peers, given.changes, kernel):
                    table.add_row(it.what, *(f"{value:.2f}" for value in (it.p50, it.p99, it.cpu)), str(it.steps))
                    slow |= it.what.startswith("one") and it.cpu > ONE_PEER_MOST_MS
            kernel.close()
        console.print(table)
    console.print(f"Load of the machine before: {load_before:.1f}")
    return int(slow)
