"""The page of the real daemon: where a setting has it served, to whom it is refused, what it costs where it is off."""

from __future__ import annotations

import http.client
import subprocess
import sys
from contextlib import closing
from http import HTTPStatus
from socket import create_server

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

ADDRESS = "127.0.0.1:9479"


def get(node: Host, path: str, host: str = ADDRESS) -> tuple[int, str]:
    """An answer on the node. Raises OSError."""
    with node.enter(), closing(http.client.HTTPConnection(ADDRESS, timeout=10)) as connection:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


async def test_the_page_is_of_this_node(daemon: Daemon, node: Host, web: Host) -> None:
    daemon.configure(ui=ADDRESS)
    await daemon.restart()
    async with daemon.client() as client:
        await client.attach(attach(web))
    assert get(node, "/")[0] == HTTPStatus.OK
    status, drawn = get(node, "/picture.svg")
    assert (status, "web/eth0" in drawn, "192.0.2.1" in drawn) == (HTTPStatus.OK, True, True)
    assert "route 10.213.0.2/32 dev" in get(node, "/describe?workload_id=web&if_name=eth0")[1]
    assert get(node, "/", host="rebound.example")[0] == HTTPStatus.FORBIDDEN


async def test_a_port_that_another_holds_keeps_nothing_from_its_work(daemon: Daemon, node: Host, web: Host) -> None:
    """A condition names it, and the page is served once it is free."""
    daemon.configure(ui=ADDRESS)
    daemon.terminate()
    with node.enter():
        other = create_server(("127.0.0.1", 9479))
    with closing(other):
        await daemon.start()
        async with daemon.client() as client:
            await client.attach(attach(web))
            told = {it.type: it.message for it in (await client.status()).conditions}
            assert f"the page cannot be served at {ADDRESS}" in told["PageUnavailable"]

    def served() -> bool:
        try:
            return get(node, "/")[0] == HTTPStatus.OK
        except OSError:
            return False

    await until(served, "the page is served", within_s=15)


async def test_an_address_that_others_reach_has_to_be_meant(daemon: Daemon, node: Host) -> None:
    daemon.terminate()
    daemon.configure(ui="192.0.2.1:9479")
    refused = daemon.command("daemon", f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    assert refused.returncode != 0
    assert "192.0.2.1:9479 can be reached from elsewhere" in " ".join(refused.stderr.split())
    daemon.configure(ui="192.0.2.1:9479", ui_anywhere=True)
    await daemon.start()


def test_without_a_page_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, netplumb.reconciler.daemon, netplumb.reconciler.main;"
        "print([name for name in sys.modules if name.startswith(('aiohttp', 'netplumb.api.page', 'netplumb.api.map'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_without_the_extra_the_daemon_says_what_to_install(daemon: Daemon) -> None:
    """As where the wheel was installed without it."""
    daemon.terminate()
    daemon.configure(ui=ADDRESS)
    program = (
        "import sys; sys.modules['aiohttp'] = None; from netplumb.reconciler.main import app; "
        f"app(['daemon', '--config={daemon.config}', '--data-dir={daemon.data_dir}', '--socket={daemon.socket}'])"
    )
    line = daemon.node.command(sys.executable, "-c", program)
    done = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "pip install 'netplumb[ui]'" in " ".join(done.stderr.split())
