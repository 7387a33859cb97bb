"""Debian's Chromium beside the real daemon, on a node that a namespace plays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.e2e.conftest import client, daemon, db, directory, make_host, node, outside, own_run, start_daemon, web
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host

__all__ = ["client", "daemon", "db", "directory", "make_host", "node", "outside", "own_run", "start_daemon", "web"]

PAGE = "127.0.0.1:9479"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900"),
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
)


@contextmanager
def browsing(host: Host) -> Iterator[Chrome]:
    """A browser on a host. The calling thread stays there meanwhile."""
    options = ChromeOptions()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with TemporaryDirectory(prefix="np-") as profile, host.enter():
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()


@pytest.fixture
async def served(daemon: Daemon) -> Daemon:
    """A daemon that serves the page."""
    daemon.configure(ui=PAGE)
    await daemon.restart()
    return daemon


@pytest.fixture
def browser(served: Daemon, node: Host) -> Iterator[Chrome]:
    with browsing(node) as browser:
        browser.get(f"http://{PAGE}/")
        yield browser
