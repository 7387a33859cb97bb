"""Forgets flows that something made wrong, beside the event loop.

Whoever changes the kernel reports the steps; which flows those make suspect, and which of these are wrong, is decided
elsewhere (`decide/flows`). Looks are made one after the other in a thread. What a client waits for, the flows to ports
that changed, comes at once; a look at all that the table decides may meet as many flows as tenants like to make, so the
longer one took the longer is the pause before the next, and what comes meanwhile is looked at together.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from ipaddress import ip_address

import structlog

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.errors import StepError
from netplumb.models.flows import CUT, Flow, Walk
from netplumb.models.lookups import Question
from netplumb.models.network import Node
from netplumb.models.nft import NftElement
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.steps import Step
from netplumb.reconciler.decide.flows import Course, links_of, unfit
from netplumb.reconciler.decide.leaving import Leaving
from netplumb.reconciler.decide.policies.flows import PolicedFlows
from netplumb.reconciler.decide.policies.verdict import Endpoint
from netplumb.reconciler.decide.portmaps import ports_of
from netplumb.reconciler.decide.suspects import EVERY_FLOW, Suspects, suspects, suspects_around, suspects_of, walks
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.conntrack import Conntrack
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink import dumps
from netplumb.reconciler.kernel.rtnetlink.routelookups import look_up

RETRY_S = 1.0
PAUSES_A_LOOK = 5  # how much longer than a look at everything the pause after it is
PAUSE_MOST_S = 5.0
_LOOPBACK_V4 = 127

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deciding:
    """What decides where flows lead, as the event loop knows it. Whether some workload `has` an address at this moment
    may be asked on any thread."""

    node: Node
    known: NodeNetwork
    attachments: Sequence[Attachment]
    elsewhere: Sequence[Endpoint] = ()
    has: Callable[[bytes], bool] = lambda _: False


@dataclass(slots=True)
class _Batch:
    """What is looked at together. `owners` are the links whose ports changed, and `done` that it was looked at."""

    suspected: Suspects = field(default_factory=Suspects)
    owners: set[str] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Flows:
    """The flows of the namespace in which `run` is called."""

    def __init__(self, nftables: Nftables) -> None:
        self._nftables = nftables
        self._lock = threading.Lock()
        self._waiting = _Batch()
        self._under_way = _Batch()
        self._wake = asyncio.Event()
        self._events: asyncio.AbstractEventLoop | None = None
        self._rests_until = 0.0
        self._leaving = Leaving()

    def changed(self, steps: Iterable[Step]) -> None:
        """Steps were carried out, by whichever thread."""
        steps = tuple(steps)
        if suspected := suspects(steps):
            owners = {step.thing.owner for step in steps if isinstance(step.thing, NftElement)}
            self._suspect(suspected, owners if suspected.ports else ())

    def suspect_all(self) -> None:
        """Flows may be wrong for a reason that nothing tells, such as that a daemon died."""
        self._suspect(EVERY_FLOW)

    def released(self, addresses: Iterable[IPAddress]) -> None:
        """Workloads had these addresses, and others may have them next."""
        self._suspect(suspects_of(addresses))

    def looked_around(self, before: NodeNetwork, now: NodeNetwork) -> None:
        """The node's network is not as it was."""
        leaving = self._leaving.then(before)
        self._leaving = leaving.then(now)
        if suspected := suspects_around(before, now, leaving):
            self._suspect(suspected)

    def _suspect(self, suspected: Suspects, owners: Iterable[str] = ()) -> None:
        with self._lock:
            self._waiting.suspected |= suspected
            self._waiting.owners.update(owners)
        if self._events is not None:
            self._events.call_soon_threadsafe(self._wake.set)

    async def settled(self, owner: str) -> None:
        """Waits until the flows to ports that led to this link, or lead to it now, were looked at."""
        for batch in (self._under_way, self._waiting):
            if owner in batch.owners:
                await batch.done.wait()

    async def run(self, deciding: Callable[[], Deciding]) -> None:
        """Runs until cancelled; a look that is under way then is let finish. What is `deciding` is asked on the event
        loop, just before each look."""
        self._events = asyncio.get_running_loop()
        self._wake.set()
        with ThreadPoolExecutor(1, thread_name_prefix="flows") as thread:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if batch := self._take():
                    await self._look(batch, deciding(), thread)

    def _take(self) -> _Batch | None:
        """What is due: ports at once, the rest after its pause."""
        with self._lock:
            batch, self._waiting = self._waiting, _Batch()
            left_s = self._rests_until - time.monotonic()
            if left_s > 0 and not batch.suspected.only_ports:
                self._waiting.suspected = replace(batch.suspected, ports=frozenset())
                batch.suspected = replace(batch.suspected, by_table=False, all=False)
                asyncio.get_running_loop().call_later(left_s, self._wake.set)
        return batch if batch.suspected else None

    async def _look(self, batch: _Batch, deciding: Deciding, thread: ThreadPoolExecutor) -> None:
        self._under_way, began = batch, time.monotonic()
        look = partial(_forget_wrong, batch.suspected, deciding, self._nftables)
        try:
            forgotten, has_newcomers = await asyncio.get_running_loop().run_in_executor(thread, look)
            if forgotten:
                log.info("flows were forgotten that would be led otherwise now", flows=forgotten)
            if has_newcomers:
                self._suspect(batch.suspected)
        except (StepError, OSError) as error:
            log.warning("flows are not judged", cause=str(error), retry_after_s=RETRY_S)
            self._suspect(batch.suspected)
            self._rests_until = time.monotonic() + RETRY_S
        else:
            if not batch.suspected.only_ports:
                took_s = time.monotonic() - began
                self._rests_until = time.monotonic() + min(took_s * PAUSES_A_LOOK, PAUSE_MOST_S)
        finally:
            batch.done.set()


def _forget_wrong(suspected: Suspects, deciding: Deciding, nftables: Nftables) -> tuple[int, bool]:
    """One look: how many flows it forgot, and whether it left some alone that are of a workload that came since, of
    which nothing is known here: its flows would be a stranger's. Raises Retryable."""
    course = _course(suspected, deciding, nftables)
    has_newcomers = False

    def is_wrong(flow: Flow) -> bool:
        nonlocal has_newcomers
        if not course.is_wrong(flow):
            return False
        ends = (flow.source[0], flow.answerer[0])
        is_newcomers = not suspected.only_ports and any(ip not in course.links and deciding.has(ip) for ip in ends)
        has_newcomers |= is_newcomers
        return not is_newcomers

    kept = sysctls.read("net/netfilter/nf_conntrack_count")
    with Conntrack() as conntrack:
        walked = walks(suspected, int(kept) if kept is not None else None)
        freed = 0 if suspected.only_ports else conntrack.forget(Walk(mark=CUT), course.is_allowed_again)
        return freed + sum(conntrack.forget(walk, is_wrong, course.is_cut) for walk in walked), has_newcomers


def _course(suspected: Suspects, deciding: Deciding, nftables: Nftables) -> Course:
    node, known = deciding.node, deciding.known
    own = cache(dumps.node_addresses)

    def is_local(ip: bytes) -> bool:
        if (len(ip) == 4 and ip[0] == _LOOPBACK_V4) or ip in own():
            return True
        return any(ip_address(ip) in network for network, _ in known.local)

    links = links_of(deciding.attachments)
    if suspected.only_ports:
        return Course(nftables.element, suspected.ports, node.workload_prefixes, is_local, former=suspected)
    return Course(
        nftables.element,
        suspected.ports | ports_of(nftables.elements().values()),
        node.workload_prefixes,
        is_local,
        links,
        masquerade=node.masquerade,
        isolate_workloads=node.isolate_workloads,
        cluster=node.cluster_prefixes,
        unfit=unfit(node.node_addresses, known) | suspected.unfit,
        former=suspected,
        policed=PolicedFlows(node.policies, deciding.attachments, is_local, deciding.elsewhere),
        leaves_as=_leaves_as(links, known),
    )


def _leaves_as(links: Mapping[bytes, Sequence[str]], known: NodeNetwork) -> Callable[[bytes, bytes, bytes], bool]:
    """Asks the kernel which way a workload's packet would go now, once for each pair of addresses. What has no way is
    left as it is."""
    said = {(it.link, it.ip.packed) for it in known.sources if it.ip is not None}

    @cache
    def link_to(source: bytes, dst: bytes) -> str:
        try:
            index = socket.if_nametoindex(links[source][-1])
            with Channel() as channel:
                found = look_up(channel, Question(ip_address(dst), ip_address(source), index))
            return socket.if_indextoname(found.oif) if found.oif else ""
        except OSError:
            return ""

    def leaves_as(source: bytes, dst: bytes, ip: bytes) -> bool:
        link = link_to(source, dst)
        return not link or (link, ip) in said

    return leaves_as
