"""The page in a real browser: what it shows is what is, and stays so; nothing of it comes from or goes elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.wishes import attach, detach
from tests.ui.conftest import PAGE

WITHIN_S = 40.0
HOSTILE = "<img src=x onerror=document.title='owned'>"


def rows(browser: Chrome) -> list[str]:
    """The names in the rows that are to be seen."""
    script = "return [...document.querySelectorAll('#rows tr:not([hidden]) button')].map((it) => it.textContent)"
    found: list[str] = browser.execute_script(script)
    return found


def text(browser: Chrome, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def until(browser: Chrome, true: Callable[[], object]) -> None:
    WebDriverWait(browser, WITHIN_S).until(lambda _: true())


def click(browser: Chrome, selector: str) -> None:
    """Again, where the page was made anew between finding it and the click."""

    def clicked() -> bool:
        browser.find_element(By.CSS_SELECTOR, selector).click()
        return True

    waiting = WebDriverWait(browser, WITHIN_S, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(lambda _: clicked())


def complaints(browser: Chrome) -> list[str]:
    """What the browser has to say of scripts, styles and requests, less that a daemon which ended does not answer."""
    logged = browser.execute(Command.GET_LOG, {"type": "browser"})["value"]
    return [it["message"] for it in logged if "ERR_" not in it["message"]]


async def test_the_table_follows_what_happens(browser: Chrome, served: Daemon, web: Host, db: Host) -> None:
    """Attached, damaged for good, detached: without a reload."""
    async with served.client() as own:
        await own.attach(attach(web, labels={"app": "web"}, ports=["8080:80"]))
        until(browser, lambda: rows(browser) == ["web/eth0"])
        assert "8080 → 80/tcp" in text(browser, "#rows")
        await own.attach(attach(db))
        until(browser, lambda: rows(browser) == ["db/eth0", "web/eth0"])
        until(browser, lambda: "2 Attached" in text(browser, "#counts"))
        db.remake()
        until(browser, lambda: "Lost" in text(browser, "#rows"))
        await own.detach(detach("db"))
        until(browser, lambda: rows(browser) == ["web/eth0"])
    assert complaints(browser) == []


async def test_a_filter_and_the_details_of_a_workload(
    browser: Chrome, served: Daemon, node: Host, web: Host, db: Host
) -> None:
    async with served.client() as own:
        await own.attach(attach(web, labels={"app": "web"}))
        await own.attach(attach(db))
    until(browser, lambda: len(rows(browser)) == 2)
    field = browser.find_element(By.ID, "filter")
    field.send_keys("app=web attached")
    assert rows(browser) == ["web/eth0"]
    assert text(browser, "#shown") == "1 of 2"
    click(browser, "#rows tr:not([hidden])")
    until(browser, lambda: "route 10.213.0.2/32 dev" in text(browser, "#details"))
    assert "In the workload" in text(browser, "#details")
    assert "Attached" in text(browser, "#details .lines:last-child")
    node.ip("-4 route delete 10.213.0.2")
    until(browser, lambda: "Repaired" in text(browser, "#events"))
    assert re.search(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", text(browser, "#events")), "as commands have times"
    assert re.search(r"it had been so for (at most )?\d+\.\d m?s", text(browser, "#events"))
    assert re.search(r"since 20\d\d-\d\d-\d\d", text(browser, "#details dl"))
    click(browser, "#details .close")
    assert not browser.find_element(By.ID, "details").is_displayed()


async def test_one_thing_is_scrolled_at_a_time(browser: Chrome, served: Daemon, web: Host) -> None:
    """On a phone the details cover the rest, which does not move beneath them; and nothing is wider than the screen."""
    async with served.client() as own:
        await own.attach(attach(web))
        until(browser, lambda: rows(browser) == ["web/eth0"])
    browser.set_window_size(500, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    click(browser, "#rows tr")
    until(browser, lambda: "In the workload" in text(browser, "#details"))
    assert browser.execute_script("return getComputedStyle(document.documentElement).overflowY") == "hidden"
    assert browser.execute_script("const it = $('details'); return it.scrollWidth <= it.clientWidth")
    fields = "const it = $('details'); return it.querySelector('dl').offsetWidth >= it.clientWidth - 40"
    assert browser.execute_script(fields), "they do not stand beside the button"
    click(browser, "#details .close")
    assert browser.execute_script("return getComputedStyle(document.documentElement).overflowY") != "hidden"


async def test_the_picture_is_of_now_and_leads_to_the_details(
    browser: Chrome, served: Daemon, web: Host, db: Host
) -> None:
    boxes = "[data-key]"
    async with served.client() as own:
        await own.attach(attach(web))
        click(browser, "#as-picture")
        until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, boxes)) == 1)
        await own.attach(attach(db))
        until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, boxes)) == 2)
    click(browser, "[data-key='db/eth0']")
    until(browser, lambda: text(browser, "#details h2") == "db/eth0")


async def test_traffic_is_shown_as_rates(browser: Chrome, served: Daemon, node: Host, web: Host) -> None:
    async with served.client() as own:
        await own.attach(attach(web))
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        node.ping("10.213.0.2", count=20)
        if "kbit/s" in text(browser, "#received"):
            break
    until(browser, lambda: "bit/s" in text(browser, "#rows td:nth-child(7)"))
    assert browser.find_element(By.CSS_SELECTOR, "#received polyline").get_attribute("points")


async def test_a_restart_is_told_and_survived(browser: Chrome, served: Daemon, web: Host) -> None:
    async with served.client() as own:
        await own.attach(attach(web))
    until(browser, lambda: rows(browser) == ["web/eth0"])
    served.terminate()
    until(browser, lambda: text(browser, "#state") == "not connected, trying again")
    await served.start()
    until(browser, lambda: text(browser, "#state") == "ready")
    assert rows(browser) == ["web/eth0"]


async def test_what_a_workload_is_called_is_text(browser: Chrome, served: Daemon, web: Host) -> None:
    async with served.client() as own:
        await own.attach(attach(web, HOSTILE, labels={HOSTILE: HOSTILE}))
    until(browser, lambda: rows(browser) == [f"{HOSTILE}/eth0"])
    click(browser, "#as-picture")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "[data-key]"))
    click(browser, "[data-key]")
    until(browser, lambda: "In the workload" in text(browser, "#details"))
    assert browser.title == "netplumb"
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert complaints(browser) == []


async def test_all_that_is_asked_for_is_asked_of_the_daemon(browser: Chrome, served: Daemon) -> None:
    until(browser, lambda: text(browser, "#state") == "ready")
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((it) => it.name)")
    assert all(name.startswith((f"http://{PAGE}/", "data:")) for name in asked)


async def test_a_name_that_leads_here_shows_nothing(browser: Chrome, served: Daemon) -> None:
    """As a page of somebody else does, that has its own name lead to this node's loopback."""
    browser.get("http://rebound.example:9479/")
    assert text(browser, "body").startswith("this page is asked for by an address or as localhost")
    fetched = "fetch('http://127.0.0.1:9479/picture.svg').then((it) => it.text()).then((it) => document.title = it)"
    browser.execute_script(f"{fetched}.catch(() => document.title = 'refused')")
    until(browser, lambda: browser.title == "refused")


@pytest.mark.parametrize("picture", [False, True], ids=["table", "picture"])
async def test_it_fits_a_phone(browser: Chrome, served: Daemon, web: Host, picture: bool) -> None:
    """What is wider than the screen is moved within its own frame."""
    async with served.client() as own:
        await own.attach(attach(web, "a-workload-with-a-name-that-is-longer-than-most-names-of-workloads-are"))
    until(browser, lambda: rows(browser))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    if picture:
        click(browser, "#as-picture")
    else:
        click(browser, "#rows tr")
    width = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1] == 390


async def test_it_is_dark_where_that_is_wished(browser: Chrome, served: Daemon) -> None:
    def ground(scheme: str) -> str:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        found: str = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return found

    assert ground("light") == "rgb(247, 248, 250)"
    assert ground("dark") == "rgb(18, 22, 28)"
