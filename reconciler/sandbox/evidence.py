"""What is true, asked of the kernel and not of the daemon: pings, and how long something stayed broken.

A repair is timed by reading the kernel over and over, from before the damage until all is back as it was. The time
runs from the first reading that misses something to the first complete one; the pauses before these two tell how far
off it can be.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from netplumb.models.kernel import Address, Route, Scope
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.kernel.namespaces import Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink import dumps, encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from netplumb.reconciler.sandbox.stage import SandboxError, command, outcome, start

_PAUSE_S = 0.0002
_PATIENCE_S = 15.0
_FAMILIES = (rt.AF_INET, rt.AF_INET6)

Reading: TypeAlias = frozenset[object]
Read: TypeAlias = Callable[[], Reading]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was seen missing, how long, and how far off that may be.

    Nothing is seen missing where the repair fits between two readings; then it took less than `inexact_s`.
    """

    lost: tuple[str, ...]
    took_s: float
    inexact_s: float

    def __str__(self) -> str:
        if not self.lost:
            return f"back within {self.inexact_s * 1e3:.1f} ms, between two looks"
        return f"back after {self.took_s * 1e3:.1f} ms (± {self.inexact_s * 1e3:.1f})"


def ping(netns: Path, address: str) -> str:
    """One echo from within a namespace; how long it took. Raises SandboxError without an answer."""
    words = ("nsenter", f"--net={netns}", "ping", "-n", "-c1", "-W2", address)
    try:
        said = command(*words)
    except SandboxError:
        raise SandboxError("no answer") from None
    took = re.search(r"time=(\S+ \S+)", said)
    return took[1] if took else "answered"


def repair(read: Read, damage: Sequence[str]) -> Repair:
    """Runs the command that does the damage and waits until all that was there is back.

    Raises SandboxError if there was nothing to damage, the command fails, or it does not come back.
    """
    before = read()
    if not before:
        raise SandboxError("there is nothing to break")
    lost: Reading = frozenset()
    broken_at: float | None = None
    longest_gap = gap_at_break = 0.0
    damaging = start(damage)
    last = time.perf_counter()
    deadline = last + _PATIENCE_S
    while True:
        done = damaging.poll() is not None  # asked before the reading, which then shows what comes after the damage
        missing = before - read()
        now = time.perf_counter()
        gap, last = now - last, now
        longest_gap = max(longest_gap, gap)
        if missing and broken_at is None:
            broken_at, gap_at_break = now, gap
        lost |= missing
        if (done and not missing) or now > deadline:
            break
        time.sleep(_PAUSE_S)
    outcome(damage, damaging)
    if missing:
        raise SandboxError(f"not repaired within {_PATIENCE_S:.0f} s: {', '.join(sorted(map(str, missing)))}")
    if broken_at is None:
        return Repair((), 0.0, longest_gap)
    return Repair(tuple(sorted(map(str, lost))), now - broken_at, max(gap_at_break, gap))


@contextmanager
def node_routes(link: str) -> Iterator[Read]:
    """Reads netplumb's routes over one interface of the node."""
    index = socket.if_nametoindex(link)
    with Channel() as channel:
        yield lambda: _routes(channel, index, link)


@contextmanager
def network_of(netns: Path, link: str) -> Iterator[Read]:
    """Reads netplumb's addresses and routes on an interface of a workload. Its namespace is held open meanwhile."""
    namespaces = Namespaces()
    try:
        with namespaces.open(str(netns)) as namespace:
            with namespaces.inside(namespace.fd):
                index = socket.if_nametoindex(link)
            channel = namespace.channel
            yield lambda: _addresses(channel, index, link) | _routes(channel, index, link)
    finally:
        namespaces.close()


@contextmanager
def nftables_table() -> Iterator[Read]:
    """Reads netplumb's chains on the node, rules included."""
    nftables = Nftables()
    try:
        yield lambda: frozenset(nftables.observe())
    finally:
        nftables.close()


def _addresses(channel: Channel, index: int, link: str) -> Reading:
    return _ours(dumps.addresses(channel, Scope.WORKLOAD, {index: link}))


def _routes(channel: Channel, index: int, link: str) -> Reading:
    bodies = (encode.dump_routes(family, index=index) for family in _FAMILIES)
    return _ours(route for body in bodies for route in dumps.routes(channel, body, Scope.WORKLOAD, {index: link}))


def _ours(found: Iterable[Address | Route]) -> Reading:
    return frozenset(it for it in found if is_ours(it))
