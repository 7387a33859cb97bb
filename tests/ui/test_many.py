"""The page with 2,000 workloads, over workloads that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from aiohttp import web
from selenium.webdriver.common.by import By

from netplumb.api.page.server import application
from netplumb.models.status import Change, Phase, WatchEvent
from tests.e2e.hosts import Host
from tests.ui.conftest import PAGE, browsing
from tests.ui.test_page import click, rows, text, until
from tests.unit.api.fake import FakeWorkloads, view

MANY = 2000
FILTERED_WITHIN_S = 1.0  # 0.04 where nothing else runs


@pytest.fixture
def crowd(node: Host) -> Iterator[Event]:
    """Served on the node, by a thread with a loop of its own. When the event is set, one of them fails."""
    workloads = FakeWorkloads(*(view(f"web-{number}") for number in range(MANY)))
    ready, done, failed = Event(), Event(), Event()

    async def fail() -> None:
        await asyncio.to_thread(failed.wait)
        workloads.changes.put_nowait(WatchEvent(Change.UPDATED, view("web-77", phase=Phase.FAILED)))

    async def serve() -> None:
        failing = asyncio.create_task(fail())
        runner = web.AppRunner(application(workloads), shutdown_timeout=0)
        await runner.setup()
        host, _, port = PAGE.partition(":")
        await web.TCPSite(runner, host, int(port)).start()
        ready.set()
        await asyncio.to_thread(done.wait)
        await runner.cleanup()
        await failing

    def run() -> None:
        with node.enter():
            asyncio.run(serve())

    thread = Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield failed
    finally:
        failed.set()
        done.set()
        thread.join()


def test_two_thousand_are_shown_filtered_drawn_and_followed(crowd: Event, node: Host) -> None:
    with browsing(node) as browser:
        browser.get(f"http://{PAGE}/")
        until(browser, lambda: text(browser, "#state") == "ready")
        assert len(rows(browser)) == 500
        assert text(browser, "#shown") == f"the first 500 of {MANY}"
        took = browser.execute_script(
            "const began = performance.now(); document.getElementById('filter').value = 'web-77';"
            "filter(); document.body.offsetHeight; return (performance.now() - began) / 1000"
        )
        assert took < FILTERED_WITHIN_S
        assert rows(browser)[0] == "web-77/eth0"
        assert len(rows(browser)) == 11
        crowd.set()
        until(browser, lambda: "Failed" in text(browser, "#rows tr:not([hidden])"))
        click(browser, "#as-picture")
        until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "[data-key]:not(.away)")) == 11)
        assert len(browser.find_elements(By.CSS_SELECTOR, "[data-key]")) == MANY
        click(browser, "#as-table")
        browser.execute_script("document.getElementById('filter').value = ''; filter()")
        click(browser, "#all")
        assert len(rows(browser)) == MANY
