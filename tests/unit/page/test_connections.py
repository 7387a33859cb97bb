"""Connections to the page: bounded, and nonsense that comes in by them is told in a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
from structlog.testing import capture_logs

from netplumb.api.page import connections
from netplumb.api.page.server import Page
from netplumb.models.listenaddress import TcpAddress, listen_address
from tests.unit.api.fake import FakeWorkloads, view

PORT = 29479


@pytest.fixture
async def page() -> AsyncIterator[None]:
    address = listen_address(f"127.0.0.1:{PORT}")
    assert isinstance(address, TcpAddress)
    running = asyncio.create_task(Page(FakeWorkloads(view("web-1")), address).run())
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def answered(said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(said)
    async with asyncio.timeout(10):
        try:
            return await reader.readline()
        except ConnectionError:
            return b""
        finally:
            writer.close()


ASKED = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


STREAM = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_connections_are_bounded_and_make_room_when_they_go(page: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks is not sent away for who comes next."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    held = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(3)]
    for reader, writer in held:
        writer.write(STREAM)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert await answered(ASKED) == b""
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        for number in count():
            await asyncio.sleep(0.01 * bool(number))
            if (await answered(ASKED)).startswith(b"HTTP/1.1 200"):
                break


@pytest.mark.parametrize("said", [b"", ASKED[:20], ASKED])
async def test_who_asks_for_nothing_makes_room(page: None, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Silent, in the middle of a request, or answered long since: nobody is kept out by it."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    held = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(3)]
    for reader, writer in held:
        writer.write(said)
        if said == ASKED:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.05)
    for _ in range(4):
        assert (await answered(ASKED)).startswith(b"HTTP/1.1 200")
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize("nonsense", [b"\x00\xff\r\n\r\n", ASKED[:-2] + b"X: " + b"a" * 100_000 + b"\r\n\r\n"])
async def test_nonsense_is_told_in_a_line(page: None, nonsense: bytes) -> None:
    with capture_logs() as logged:
        assert b" 400 " in await answered(nonsense)
    (line,) = [it for it in logged if it["event"] == "a request for the page is none"]
    assert "exc_info" not in line
