"""What a node tells of its attachments: written where it differs from what etcd has, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

import pytest

from netplumb.models.attachment import REBUILT_SOURCE, Attachment, AttachmentSpec, NetnsRef
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.status import AttachmentStatus, AttachmentView, Change, Phase, WatchEvent
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put
from netplumb.reconciler.cluster.etcd.entries import Entry, Header, Keys, Snapshot
from netplumb.reconciler.cluster.reporting import Reporting, endpoint

KEYS = Keys("/netplumb/endpoints/a/")


def view(name: str, *, source: str = "rpc", labels: dict[str, str] | None = None, **more: Any) -> AttachmentView:
    spec = AttachmentSpec(workload_id=name, netns=NetnsRef(name=name), labels=labels or {})
    fields = {"addresses": (ip_address("10.1.0.5"),), "mac": "02:00:00:00:00:01", **more}
    record = Attachment(spec=spec, source=source, **fields)
    status = AttachmentStatus(Phase.CONFLICT if record.generation == 0 else Phase.ATTACHED)
    return AttachmentView(
        record,
        status,
        bandwidth=Bandwidth(),
        default_route=True,
        isolate_node=False,
        isolate_workloads=False,
    )


def test_an_endpoint_is_what_policies_see() -> None:
    said = endpoint(view("web", labels={"b": "2", "a": "1"}), None)
    assert said is not None
    assert json.loads(said) == {
        "workload_id": "web",
        "if_name": "eth0",
        "namespace": "default",
        "labels": {"a": "1", "b": "2"},
        "addresses": ["10.1.0.5"],
    }


def test_what_goes_is_no_endpoint_any_more() -> None:
    assert endpoint(view("web", removing=True), b"as it was") is None


def test_what_waits_for_the_key_of_another_is_none() -> None:
    assert endpoint(view("web", generation=0, addresses=()), None) is None


def test_of_what_was_rebuilt_stays_what_others_were_told() -> None:
    assert endpoint(view("web", source=REBUILT_SOURCE), b"as it was") == b"as it was"


@dataclass
class Store:
    """An etcd of one range, which counts its transactions."""

    entries: dict[str, bytes]
    commits: list[Sequence[Put | Delete]] = field(default_factory=list)

    async def read(self, _: Keys) -> Snapshot:
        return Snapshot(Header(1, 1), {key: Entry(value, 1, 1) for key, value in self.entries.items()})

    async def commit(self, _: Sequence[pb.Compare], changes: Sequence[Put | Delete]) -> int:
        self.commits.append(changes)
        for change in changes:
            if isinstance(change, Put):
                self.entries[change.key] = change.value
            else:
                self.entries.pop(change.keys.first, None)
        return 1


async def written(store: Store, events: Sequence[WatchEvent]) -> Store:
    """After these events, and what they led to."""

    async def watch() -> AsyncIterator[WatchEvent]:
        for event in events:
            yield event
        await asyncio.Event().wait()

    reporting = Reporting(cast("Client", store), KEYS, endpoint, pb.Compare, watch, pause_s=0)
    running = asyncio.ensure_future(reporting.run())
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return store


def at(name: str) -> str:
    return f"{KEYS.first}{name}/eth0"


async def test_only_what_differs_is_written_and_what_is_over_is_taken_away() -> None:
    same = endpoint(view("same"), None)
    assert same is not None
    events = [
        WatchEvent(Change.PRESENT, view("same")),
        WatchEvent(Change.PRESENT, view("new")),
        WatchEvent(Change.SNAPSHOT_COMPLETE),
    ]
    store = await written(Store({at("same"): same, at("old"): b"x"}), events)
    assert store.entries.keys() == {at("same"), at("new")}
    changed = [it for changes in store.commits for it in changes]
    assert sorted(it.key if isinstance(it, Put) else it.keys.first for it in changed) == [at("new"), at("old")]


async def test_changes_of_one_moment_are_one_transaction() -> None:
    events = [WatchEvent(Change.PRESENT, view(f"w{number}")) for number in range(50)]
    store = await written(Store({}), events)
    assert len(store.entries) == 50
    assert len(store.commits) <= 2


async def test_who_is_told_to_end_while_all_is_begun_anew_ends() -> None:
    """A daemon that is stopped at that moment would wait for it for ever."""
    ends, may_end = asyncio.Event(), asyncio.Event()

    async def watch() -> AsyncIterator[WatchEvent]:
        try:
            yield WatchEvent(Change.SNAPSHOT_COMPLETE)
            await asyncio.Event().wait()
        finally:
            ends.set()
            await may_end.wait()

    reporting = Reporting(cast("Client", Store({})), KEYS, endpoint, pb.Compare, watch, pause_s=0)
    running = asyncio.ensure_future(reporting.run())
    for _ in range(20):
        await asyncio.sleep(0)
    reporting.begin_anew()
    await ends.wait()
    running.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
