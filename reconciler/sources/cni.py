"""The source behind the CNI plugin. Each network is a source of its own and touches nothing but what it holds.

Runtimes know an attachment by container and interface; its key may be the pod instead, whose sandboxes come and go.
It implements the protocol that the API declares, without knowing the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from time import monotonic

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, DetachSpec
from netplumb.models.errors import AlreadyHeld, NotFound
from netplumb.models.status import AttachmentView, CheckReport, NodeStatus
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.sources.rpc import RpcSource

REPAIRED_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.1


class CniSource:
    """`rpc` does what is the same for every client."""

    def __init__(self, desired: Desired, rpc: RpcSource) -> None:
        self._desired = desired
        self._rpc = rpc

    async def attach(self, source: str, spec: AttachmentSpec) -> AttachmentView:
        """The same container again is the same attachment; another one of the same pod moves it, to a namespace that
        does not have it yet."""
        record = self._desired.attachments.get(spec.key)
        if record is not None and record.source == source and self._is_in_place(record, spec):
            raise AlreadyHeld(
                f"interface {spec.if_name} in {spec.netns.where} is that of container {record.spec.container_id}"
            )
        return await self._rpc.attach(spec, None, source)

    def _is_in_place(self, record: Attachment, spec: AttachmentSpec) -> bool:
        """Whether another container of the same pod has the interface in this very namespace."""
        if record.removing or record.spec.container_id == spec.container_id:
            return False
        return self._rpc.cookie_at(spec.netns.where) == record.netns_cookie

    async def detach(self, source: str, container_id: str, if_name: str, netns: str) -> None:
        record = self._find(source, container_id, if_name, netns)
        if record is not None:
            spec = DetachSpec(workload_id=record.spec.workload_id, if_name=if_name, container_id=container_id)
            await self._rpc.detach(spec, None)

    def _find(self, source: str, container_id: str, if_name: str, netns: str) -> Attachment | None:
        record = self._desired.attachments.get(AttachmentKey(container_id, if_name))
        if record is not None and _is(record, source, container_id, if_name):
            return record
        records = self._desired.attachments.values()
        found = next((record for record in records if _is(record, source, container_id, if_name)), None)
        return found or self._find_rebuilt(AttachmentKey(container_id, if_name), netns)

    def _find_rebuilt(self, key: AttachmentKey, netns: str) -> Attachment | None:
        """After the store was lost neither network nor container of an attachment is known, until it is added again.
        An interface's name is unique in its namespace, so that which one is meant can still be told; without a
        namespace the key may be the container."""
        rebuilt = [it for it in self._desired.attachments.values() if it.is_rebuilt and it.spec.if_name == key.if_name]
        cookie = self._rpc.cookie_at(netns) if netns and rebuilt else 0
        for record in rebuilt:
            known = cookie and record.netns_cookie
            if record.netns_cookie == cookie if known else record.key == key:
                return record
        return None

    async def check(self, source: str, container_id: str, if_name: str, netns: str) -> CheckReport:
        ends = monotonic() + REPAIRED_WITHIN_S
        while True:
            record = self._find(source, container_id, if_name, netns)
            if record is None:
                raise NotFound(f"{source} has no interface {if_name} of container {container_id}")
            report = await self._rpc.check(record.key)
            if report.in_sync or monotonic() > ends:
                return report
            await asyncio.sleep(_LOOK_EVERY_S)

    async def gc(self, source: str, alive: Set[AttachmentKey]) -> None:
        await self._rpc.gc(source, alive, None)

    def status(self, pool: str) -> NodeStatus:
        status = self._rpc.status()
        for version in (4, 6):
            self._desired.allocator.pick(version, pool)  # a look that takes nothing
        return status


def _is(record: Attachment, source: str, container_id: str, if_name: str) -> bool:
    spec = record.spec
    return record.source == source and spec.container_id == container_id and spec.if_name == if_name
