"""Whose repair has to wait: those whose passes took long, and never a removal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.network import Node
from netplumb.models.ports import PortMapping
from netplumb.reconciler.converge.work import Outcome
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.status.results import PORTS_AT_ONCE, Results
from netplumb.reconciler.status.statuses import Statuses

WEB, DB = (AttachmentKey(name, "eth0") for name in ("web", "db"))


def results_of(*records: Attachment) -> Results:
    desired = cast("Desired", SimpleNamespace(attachments={record.key: record for record in records}))
    return Results(desired, Statuses(desired, Node), lambda *_: None, lambda *_: None, netns_gone_grace_s=1)


def record(key: AttachmentKey, *, removing: bool = False, ports: int = 0) -> Attachment:
    mapped = (PortMapping(host_port=8000, host_port_end=8000 + ports - 1, container_port=80),) if ports else ()
    spec = AttachmentSpec(workload_id=key.workload_id, netns=NetnsRef(name=key.workload_id), port_mappings=mapped)
    return Attachment(spec=spec, source="rpc", generation=1, mac="02:00:00:00:00:07", removing=removing)


async def test_what_took_long_waits_and_others_do_not() -> None:
    results = results_of(record(WEB), record(DB))
    results.charge(Outcome(WEB, 1, cost_s=1.0))
    assert results.is_held(WEB)
    assert results.is_dear(WEB)
    assert not results.is_held(DB)


async def test_a_removal_does_not_wait() -> None:
    """Also one that failed and is tried again, of an attachment whose passes took long."""
    results = results_of(record(WEB, removing=True))
    results.charge(Outcome(WEB, 1, cost_s=1.0))
    assert not results.is_held(WEB)


async def test_who_has_very_many_ports_is_not_passed_over_where_others_wait() -> None:
    """From its first pass on, of which nobody knows yet what it takes."""
    results = results_of(record(WEB, ports=PORTS_AT_ONCE + 1), record(DB, ports=PORTS_AT_ONCE))
    assert results.is_dear(WEB)
    assert not results.is_dear(DB)
