"""Watching what has some labels only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.server.watching import watched
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.selectors import selector
from netplumb.models.status import AttachmentView, Change, WatchEvent
from tests.unit.api.fake import FakeWorkloads, view

WEB = view("web")


def with_labels(it: AttachmentView, **labels: str) -> AttachmentView:
    spec = it.attachment.spec.model_copy(update={"labels": labels})
    return replace(it, attachment=it.attachment.model_copy(update={"spec": spec}))


async def told(*events: WatchEvent, labels: str = "app=web") -> list[WatchEvent]:
    async def happen() -> AsyncIterator[WatchEvent]:
        for event in events:
            yield event

    return [event async for event in watched(happen(), selector(labels))]


async def test_what_others_have_is_not_told() -> None:
    mark = WatchEvent(Change.SNAPSHOT_COMPLETE)
    mine, others = WatchEvent(Change.PRESENT, WEB), WatchEvent(Change.PRESENT, with_labels(view("db"), app="db"))
    assert await told(mine, others, mark, WatchEvent(Change.REMOVED, others.view)) == [mine, mark]


async def test_what_loses_the_labels_is_told_as_gone_once() -> None:
    relabelled = WatchEvent(Change.UPDATED, with_labels(WEB, app="db"))
    found = await told(WatchEvent(Change.PRESENT, WEB), relabelled, relabelled, WatchEvent(Change.UPDATED, WEB))
    assert [event.change for event in found] == [Change.PRESENT, Change.REMOVED, Change.UPDATED]


async def test_a_client_watches_by_labels(client: AsyncClient, workloads: FakeWorkloads) -> None:
    other = with_labels(view("db"), app="db")
    workloads.views[other.key] = other
    changes = client.watch("app=db")
    assert (await anext(changes)).attachment.workload_id == "db"
    assert (await anext(changes)).change == pb.WatchResponse.SNAPSHOT_COMPLETE
