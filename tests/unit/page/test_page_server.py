"""The page over fake workloads: what it answers, and to whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from netplumb.api.page import feed, server
from netplumb.api.page.server import application
from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind
from netplumb.models.status import Change, Phase, WatchEvent
from tests.unit.api.fake import FakeWorkloads, view

WEB = AttachmentKey("web-1", "eth0")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHANGES_EVERY_S", 0.001)
    monkeypatch.setattr(feed, "STATUS_EVERY_S", 0.01)


@pytest.fixture
def workloads() -> FakeWorkloads:
    return FakeWorkloads(view("web-1"), view("db-1"))


@pytest.fixture
async def browser(workloads: FakeWorkloads) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(workloads))) as client:
        yield client


async def messages(response: aiohttp.ClientResponse, until: str) -> list[tuple[str, Any]]:
    """What a stream tells, to the first of a kind."""
    found: list[tuple[str, Any]] = []
    while not found or found[-1][0] != until:
        async with asyncio.timeout(5):
            kind = (await response.content.readline()).decode().removeprefix("event: ").strip()
            data = (await response.content.readline()).decode().removeprefix("data: ")
        await response.content.readline()
        found.append((kind, json.loads(data)))
    return found


async def test_the_page_is_answered_with_its_policy(browser: TestClient[Any, Any]) -> None:
    async with browser.get("/") as answer:
        assert answer.status == 200
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "<!doctype html>" in await answer.text()


async def test_a_stream_tells_all_that_is_there_then_changes(
    browser: TestClient[Any, Any], workloads: FakeWorkloads
) -> None:
    async with browser.get("/stream") as answer:
        told = await messages(answer, "complete")
        assert told[0][0] == "begin"
        there = [it["workload_id"] for kind, data in told if kind == "attachments" for it in data]
        assert there == ["db-1", "web-1"]
        await workloads.changes.put(WatchEvent(Change.UPDATED, view("web-1", phase=Phase.RETRYING)))
        assert (await messages(answer, "attachments"))[-1][1][0]["phase"] == "Retrying"
        await workloads.changes.put(WatchEvent(Change.REMOVED, view("web-1")))
        assert (await messages(answer, "removed"))[-1][1]["workload_id"] == "web-1"


async def test_a_stream_tells_status_traffic_and_events(
    browser: TestClient[Any, Any], workloads: FakeWorkloads
) -> None:
    workloads.happened = [Event(EventKind.ATTACHED, WEB, "10.99.0.2", number=1)]
    async with browser.get("/stream") as answer:
        assert (await messages(answer, "status"))[-1][1]["uplinks"][0]["name"] == "up0"
        assert (await messages(answer, "event"))[-1][1]["message"] == "10.99.0.2"
        (first, second) = [(await messages(answer, "traffic"))[-1][1] for _ in range(2)]
    assert [row[0] for row in first["traffic"]] == ["web-1/eth0", "db-1/eth0"]
    assert second["traffic"][0][1] > first["traffic"][0][1]


async def test_what_is_the_same_for_all_is_made_once(
    browser: TestClient[Any, Any], workloads: FakeWorkloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten viewers cost the kernel what one does."""
    monkeypatch.setattr(feed, "STATUS_EVERY_S", 60.0)
    client = TestClient(TestServer(application(workloads)))
    async with client:
        for _ in range(5):
            async with client.get("/stream") as answer:
                await messages(answer, "traffic")
    assert workloads.counted == 1


async def test_viewers_are_bounded_and_make_room_when_they_go(
    browser: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch, workloads: FakeWorkloads
) -> None:
    monkeypatch.setattr(server, "VIEWERS_MAX", 1)
    async with browser.get("/stream") as first:
        await messages(first, "complete")
        async with browser.get("/stream") as second:
            assert second.status == 503
    await asyncio.wait_for(workloads.unwatched.wait(), 5)
    for _ in range(100):
        async with browser.get("/stream") as again:
            if again.status == 200:
                return
        await asyncio.sleep(0.01)
    raise AssertionError("a viewer that went keeps its place")


async def test_a_workload_is_described(browser: TestClient[Any, Any], workloads: FakeWorkloads) -> None:
    async with browser.get("/describe", params={"workload_id": "web-1", "if_name": "eth0"}) as answer:
        assert (await answer.json())["attachment"]["workload_id"] == "web-1"
    async with browser.get("/describe", params={"workload_id": "nobody"}) as answer:
        assert (answer.status, await answer.text()) == (404, "no attachment nobody\n")


async def test_the_picture_is_drawn_anew(browser: TestClient[Any, Any], workloads: FakeWorkloads) -> None:
    async with browser.get("/picture.svg") as answer:
        assert 'data-key="db-1/eth0"' in await answer.text()
    del workloads.views[AttachmentKey("db-1", "eth0")]
    async with browser.get("/picture.svg") as answer:
        assert "db-1" not in await answer.text()


@pytest.mark.parametrize("path", ["/", "/stream", "/picture.svg", "/describe"])
async def test_nothing_is_answered_to_a_name_and_nothing_can_be_written(
    browser: TestClient[Any, Any], path: str
) -> None:
    async with browser.get(path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with browser.request(method, path) as answer:
            assert answer.status == 405
