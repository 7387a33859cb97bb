"""The source behind the gRPC service: Attach and Detach write desired state and wait; the rest reads.

It implements the protocol that the API declares, without knowing the API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Protocol

from netplumb.models.attachment import RPC_SOURCE, Attachment, AttachmentKey, AttachmentSpec, DetachSpec
from netplumb.models.base import IPAddress
from netplumb.models.errors import (
    NetplumbError,
    NotANetworkNamespace,
    NotFound,
    NotReady,
    PoolExhausted,
    Refusal,
    StepError,
    Superseded,
)
from netplumb.models.events import Event, EventQuery
from netplumb.models.kernel import Key
from netplumb.models.naming import node_if_name
from netplumb.models.nft import NftElement
from netplumb.models.policyviews import Answer, Asked, Denied, PolicyDifference, PolicyView
from netplumb.models.ports import PortMapping
from netplumb.models.statefile import Application, Applied, Deleted, StateFile, WhatIf
from netplumb.models.status import (
    AttachmentView,
    CheckReport,
    Comparison,
    Condition,
    Description,
    NodeStatus,
    Traffic,
    WatchEvent,
)
from netplumb.models.steps import Step
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.preview import Preview
from netplumb.reconciler.converge.reader import Reader
from netplumb.reconciler.desired.rehearsal import CheckPorts
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.history import History
from netplumb.reconciler.history.outcomes import refused
from netplumb.reconciler.kernel.namespaces import Namespace, NamespaceMissingError
from netplumb.reconciler.kernel.rtnetlink import linkstats
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.sources.applied import AppliedDocuments
from netplumb.reconciler.sources.declared import DeclaredFiles
from netplumb.reconciler.sources.fileplan import FilePlan
from netplumb.reconciler.sources.nodereport import NodeReport
from netplumb.reconciler.sources.policyquestions import Elsewhere, PolicyQuestions
from netplumb.reconciler.sources.survey import Survey
from netplumb.reconciler.status.descriptions import described
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.status.tally import Tally

DENIED_AT_ONCE = 64  # attachments; a page may have as few as one
NO_POOLS = "no pool is configured; start the daemon with --pool CIDR"
NO_PREFIXES = "the cluster has given this node no prefix yet; `netplumb status` tells why"


class Prefixes(Protocol):
    """The prefixes that the cluster gives this node to assign addresses from."""

    async def caught_up(self) -> None:
        """Waits until it is known which are this node's."""

    async def more(self) -> bool:
        """Asks for another one; returns whether it came soon."""
        ...


class RpcSource:
    """`kernel` is the loop's, to open namespaces; `reader` reads for Check and Plan in a thread of its own."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        loop: Loop,
        tally: Tally,
        nodewide: NodeWide,
        kernel: LinuxKernel,
        reader: Reader,
        *,
        version: str,
        timeout_s: float,
        source_conditions: Callable[[], tuple[Condition, ...]],
        look_at_ports: Callable[[Sequence[PortMapping]], Awaitable[None]],
        look_at_addresses: Callable[[Sequence[IPAddress]], Awaitable[None]],
        rehearse_ports: Callable[[Sequence[PortMapping]], Awaitable[CheckPorts]],
        history: History,
        declared: DeclaredFiles,
        node_links: Callable[[], Mapping[int, AttachmentKey]],
        denied: Callable[[Sequence[str]], Mapping[str, Denied]],
        element: Callable[[Key], NftElement | None],
        ways: Callable[[], Awaitable[Sequence[Step]]] | None = None,
        no_pools: str = NO_POOLS,
        prefixes: Prefixes | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._no_pools = no_pools
        self._prefixes = prefixes
        self._desired = desired
        self._statuses = statuses
        self._loop = loop
        self._tally = tally
        self._kernel = kernel
        self._node = NodeReport(desired, statuses, loop, tally, nodewide, version, source_conditions)
        self._survey = Survey(desired, statuses, nodewide, reader, self._node.conditions, ways)
        self._file_plan = FilePlan(desired, self._survey, rehearse_ports)
        self._applied = AppliedDocuments(desired, declared, self._file_plan, loop)
        self._policies = PolicyQuestions(
            desired, lambda: frozenset((*nodewide.known.own, *nodewide.node.node_addresses)), element, elsewhere
        )
        self.timeout_s = timeout_s
        self._look_at_ports = look_at_ports
        self._look_at_addresses = look_at_addresses
        self._history = history
        self._node_links = node_links
        self._denied = denied

    async def attach(self, spec: AttachmentSpec, timeout_s: float | None, source: str = RPC_SOURCE) -> AttachmentView:
        """Records the wish and waits until the kernel agrees.

        Raises a Refusal, and then nothing was recorded; or the error that the pass failed with. A wish that failed for
        good before it was ever fulfilled is withdrawn again, so that it holds no address.
        """
        began = time.monotonic()
        try:
            attachment = await self._record_wish(spec, source)
        except Refusal as error:
            self._history.tell(refused(spec.key, source, error))
            error.is_told = True
            raise
        try:
            await self._loop.reached(attachment, self.timeout_s if timeout_s is None else timeout_s)
        except StepError:
            if self._is_new(attachment) and (removing := self._desired.withdraw(spec.key)) is not None:
                with suppress(NetplumbError):  # what failed first is what the client is told
                    await self._loop.reached(removing, self.timeout_s)  # its addresses are free for the next one
            raise
        self._tally.attaching.observe(time.monotonic() - began)
        return self._statuses.view(attachment)

    async def _record_wish(self, spec: AttachmentSpec, source: str) -> Attachment:
        """Records the wish; if the pools are full but may grow, after they have grown."""
        while True:
            if self._prefixes is not None:
                await self._prefixes.caught_up()
            try:
                return await self._recorded(spec, source)
            except PoolExhausted:
                if self._prefixes is None or not await self._prefixes.more():
                    raise

    async def _recorded(self, spec: AttachmentSpec, source: str) -> Attachment:
        if not self._desired.allocator.pools:
            raise NotReady(self._no_pools)
        await self._look_at_ports(spec.port_mappings)
        await self._look_at_addresses([it for it in spec.addresses if self._desired.allocator.holder(it) != spec.key])
        namespace = self._open(spec.netns.where)
        try:
            attachment = self._desired.attach(spec, namespace.cookie, source)
        except BaseException:
            namespace.close()
            raise
        self._loop.hand_over(spec.key, namespace)
        return attachment

    def _open(self, path: str) -> Namespace:
        try:
            return self._kernel.open(path)
        except NamespaceMissingError:
            raise NotANetworkNamespace(f"{path} is not a network namespace: nothing is there") from None

    def _is_new(self, attachment: Attachment) -> bool:
        """Whether this wish is still the latest, and no wish for its key was ever fulfilled. False for keys from before
        the daemon started, since it is not known what became of those."""
        record = self._desired.attachments.get(attachment.key)
        if record is None or record.generation != attachment.generation or record.key in self._desired.inherited:
            return False
        return not self._statuses.get(attachment.key).observed_generation

    async def detach(self, spec: DetachSpec, timeout_s: float | None) -> None:
        """Withdraws the wish and waits until the interface is gone and its addresses are free."""
        began = time.monotonic()
        attachment = self._desired.detach(spec, self._cookie_of(spec))
        if attachment is not None:
            await self._loop.reached(attachment, self.timeout_s if timeout_s is None else timeout_s)
            self._tally.detaching.observe(time.monotonic() - began)

    async def gc(
        self, source: str, alive: Set[AttachmentKey], timeout_s: float | None, *, dry_run: bool = False
    ) -> Sequence[AttachmentView]:
        """Withdraws what the source holds and does not name as alive, and waits until its interfaces are gone."""
        if dry_run:
            return [self._statuses.view(record) for record in self._desired.garbage(source, alive)]
        going = [
            (self._statuses.view(record), removing)
            for record in self._desired.garbage(source, alive)
            if (removing := self._desired.withdraw(record.key)) is not None
        ]
        within_s = self.timeout_s if timeout_s is None else timeout_s
        await asyncio.gather(*(self._collected(removing, within_s) for _, removing in going))
        return [view for view, _ in going]

    async def _collected(self, removing: Attachment, within_s: float) -> None:
        with suppress(Superseded):  # another wish has the key by now, and what the source held of it is gone
            await self._loop.reached(removing, within_s)

    def _cookie_of(self, spec: DetachSpec) -> int:
        """The cookie of the namespace that a Detach names, if its path differs from the recorded one; else 0."""
        record = self._desired.attachments.get(spec.key)
        if record is None or not spec.netns_path or spec.netns_path == record.spec.netns.where:
            return 0
        return self.cookie_at(spec.netns_path)

    def cookie_at(self, path: str) -> int:
        """The cookie of the network namespace at a path, 0 if there is none."""
        try:
            with self._kernel.open(path) as namespace:
                return namespace.cookie
        except (NamespaceMissingError, NotANetworkNamespace, StepError):
            return 0

    def get(self, key: AttachmentKey) -> Sequence[AttachmentView]:
        claims = self._statuses.claims_of(key)
        if (record := self._desired.attachments.get(key)) is not None:
            return (*self._with_denied([self._statuses.view(record)]), *claims)
        if not claims:
            raise NotFound(f"no attachment {key}")
        return claims

    async def check(self, key: AttachmentKey) -> CheckReport:
        """Reads the kernel and compares; changes nothing. If something foreign is in the way, or the namespace is gone,
        there is no difference that could be repaired, and yet the attachment is not as desired."""
        record = self._desired.attachments.get(key)
        return await self._survey.of_one(record) if record is not None else _of_claim(self.get(key)[0])

    async def describe(self, workload_id: str, if_name: str, events: int) -> Sequence[Description]:
        """Reads the kernel; changes nothing."""
        keys = [it for it in self._desired.interfaces(workload_id) if if_name in ("", it.if_name)]
        records = [self._desired.attachments[key] for key in keys]
        claims = [it for it in self._statuses.claims_for(workload_id) if if_name in ("", it.key.if_name)]
        if not records and not claims:
            raise NotFound(f"no attachment {workload_id}{f'/{if_name}' if if_name else ''}")
        looks = [await self._survey.looked_at(record) for record in records]
        looks += [(_of_claim(it), Preview()) for it in claims]
        return [await self._description(report, read, events) for report, read in looks]

    async def _description(self, report: CheckReport, read: Preview, events: int) -> Description:
        happened = await self._history.kept(EventQuery(str(report.view.key), most=events)) if events else []
        (view,) = self._with_denied([report.view])
        return Description(replace(report, view=view), tuple(described(read.desired, read.steps)), tuple(happened))

    async def check_all(self) -> tuple[Comparison, Sequence[CheckReport]]:
        return await self._survey.of_all()

    async def plan(self, what_if: WhatIf) -> Sequence[Comparison]:
        """What these wishes, or the loop as things stand, would change in the kernel, and what they could not."""
        if isinstance(what_if, AttachmentSpec):
            with self._open(what_if.netns.where) as namespace:
                wished = self._desired.preview(what_if, namespace.cookie)
            return (await self._survey.of_wish(wished),)
        if isinstance(what_if, DetachSpec):
            record = self._desired.attachments.get(what_if.key)
            if record is None:
                return ()
            return (await self._survey.of_wish(record.model_copy(update={"removing": True})),)
        if isinstance(what_if, Application):
            return await self._file_plan.of_sources(*await self._applied.partitions(what_if))
        if what_if is not None:
            return await self._file_plan.of(what_if)
        node, reports = await self._survey.of_all()
        return (node, *reports)

    def policies(self) -> Sequence[PolicyView]:
        return self._policies.all()

    async def explain_policy(self, asked: Asked) -> Answer:
        return await self._policies.explain(asked)

    async def diff_policies(self, files: Sequence[StateFile]) -> PolicyDifference:
        return await self._policies.difference(files)

    async def apply(self, application: Application, *, dry_run: bool = False) -> Sequence[Applied]:
        return await self._applied.apply(application, dry_run=dry_run)

    async def delete(
        self,
        files: Sequence[StateFile],
        keys: Sequence[AttachmentKey],
        timeout_s: float | None,
        *,
        dry_run: bool = False,
    ) -> Deleted:
        within_s = self.timeout_s if timeout_s is None else timeout_s
        return await self._applied.delete(files, keys, within_s, dry_run=dry_run)

    def status(self, *, without_pools: bool = False) -> NodeStatus:
        """Raises NotReady while there are no pools, unless asked to answer all the same."""
        if not (without_pools or self._desired.allocator.pools):
            raise NotReady(self._no_pools)
        return self._node.status(*self._survey.known())

    async def traffic(self) -> Sequence[Traffic]:
        """In the order of the keys. Raises Retryable."""
        counted = await asyncio.to_thread(linkstats.traffic_of, self._node_links())
        # What the link on the node receives is what the workload sends.
        return [
            Traffic(key, it.sent_bytes, it.sent_packets, it.received_bytes, it.received_packets)
            for key, it in sorted(counted.items())
        ]

    def watch(self) -> AsyncIterator[WatchEvent]:
        return self._statuses.watch()

    def events(self, query: EventQuery, *, follow: bool) -> AsyncIterator[Event]:
        return self._history.events(query, follow=follow)

    def list(
        self,
        after: tuple[AttachmentKey, str] | None = None,
        selected: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> Iterator[AttachmentView]:
        views = self._statuses.views(after, selected)
        return self._with_denied(views)

    def _with_denied(self, views: Iterable[AttachmentView]) -> Iterator[AttachmentView]:
        """The views, with what policies denied, read for a batch at a time. What cannot be read is left out."""
        waiting = iter(views)
        while batch := list(islice(waiting, DENIED_AT_ONCE)):
            links = [node_if_name(it.key) for it in batch if _may_deny(it) and not it.is_claim]
            denied: Mapping[str, Denied] = {}
            with suppress(StepError):
                denied = self._denied(links) if links else {}
            yield from (
                replace(it, denied=found) if (found := denied.get(node_if_name(it.key))) and not it.is_claim else it
                for it in batch
            )


def _may_deny(view: AttachmentView) -> bool:
    return bool(view.policies) or view.status.condition("PoliciesHeld") is not None


def _of_claim(view: AttachmentView) -> CheckReport:
    """For a waiting claim the kernel holds nothing."""
    return CheckReport((), view.unmet, view=view)
