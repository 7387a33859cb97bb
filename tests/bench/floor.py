"""The floor: the attachments of the benchmark by preassembled bytes, on a node of its own.

The node is another namespace than the daemon's, which would remove what it finds and does not know. It is set up as the
daemon sets up its own, since a route's preferred source must be the node's and forwarding costs each new link time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from socket import socket
from time import perf_counter

from netplumb.models.kernel import LINK_GROUP, Address, LinkUp, Sysctl
from netplumb.reconciler.decide.render.firsthop import render_first_hop
from netplumb.reconciler.decide.render.forwarding import render_forwarding
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.rtnetlink import encode, encodelinks
from tests.bench.objects import NODE, Objects, objects
from tests.bench.wires import assemble, carry_out, opened
from tests.e2e.hosts import Host


@dataclass(frozen=True, slots=True)
class Place:
    """A workload: its attachment as bytes, and a socket opened in its namespace."""

    wire: socket
    objects: Objects


class Floor:
    """Attaches and detaches one after the other, and tells how long each took."""

    def __init__(self, node: Host, wire: socket, places: Sequence[Place]) -> None:
        self._node = node
        self._wire = wire
        self._places = places

    def part(self, chosen: slice) -> Floor:
        """Some of the places, on the same node."""
        return Floor(self._node, self._wire, self._places[chosen])

    def attach(self) -> list[float]:
        with self._node.enter():
            return [self._attach(place) for place in self._places]

    def _attach(self, place: Place) -> float:
        parts = place.objects
        started = perf_counter()
        carry_out(self._wire, parts.node)
        switch = os.open(parts.proxy_ndp, os.O_WRONLY | os.O_CLOEXEC)
        os.write(switch, b"1")
        os.close(switch)
        carry_out(place.wire, parts.workload)
        return perf_counter() - started

    def detach(self) -> list[float]:
        return [self._detach(place) for place in self._places]

    def detach_all(self) -> None:
        """In one message, whichever part they belong to."""
        carry_out(self._wire, assemble([encodelinks.delete_group(LINK_GROUP)]))

    def _detach(self, place: Place) -> float:
        started = perf_counter()
        carry_out(self._wire, place.objects.gone)
        return perf_counter() - started


@contextmanager
def floor(node: Host, workloads: Sequence[Host]) -> Iterator[Floor]:
    """Assembles all bytes and opens all sockets."""
    with ExitStack() as stack:
        with node.enter():
            wire = stack.enter_context(opened())
            set_up_node(wire)
        places = []
        for number, workload in enumerate(workloads):
            fd = os.open(workload.path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            with workload.enter():
                inside = stack.enter_context(opened())
            places.append(Place(inside, objects(number, workload.path, fd)))
        yield Floor(node, wire, places)


def set_up_node(wire: socket) -> None:
    for thing in (*render_forwarding(NODE), *render_first_hop(NODE)):
        match thing:
            case Sysctl():
                sysctls.write(thing.name, thing.value)
            case LinkUp():
                carry_out(wire, assemble(encodelinks.set_up(LO_INDEX)))
            case Address():
                carry_out(wire, assemble(encode.add_address(thing, LO_INDEX)))
