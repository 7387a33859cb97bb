"""Namespaces as new between two rounds: an attachment sets the loopback up and leaves it so; each shall find it down,
as in a namespace that was just made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.rtnetlink.encodelinks import link_header
from netplumb.reconciler.kernel.rtnetlink.vocabulary import IFF_UP, RTM_NEWLINK
from tests.bench.wires import assemble, carry_out, opened
from tests.e2e.hosts import Host

DOWN = assemble([Request(RTM_NEWLINK, 0, link_header(LO_INDEX, 0, IFF_UP))])


@contextmanager
def loopbacks(workloads: Sequence[Host]) -> Iterator[Callable[[], None]]:
    """What sets them all down, over sockets opened here."""
    with ExitStack() as stack:
        wires = []
        for workload in workloads:
            with workload.enter():
                wires.append(stack.enter_context(opened()))

        def down() -> None:
            for wire in wires:
                carry_out(wire, DOWN)

        yield down
