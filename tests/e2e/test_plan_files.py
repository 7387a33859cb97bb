"""`netplumb plan -f`: what a state file would change, asked of the daemon that would read it."""

from __future__ import annotations

import json
import subprocess

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.statefiles import declare, document
from tests.e2e.test_host_ports import process
from tests.e2e.waiting import until
from tests.e2e.wishes import attach


def plan(daemon: Daemon, text: str, *words: str, name: str = "web.yaml") -> subprocess.CompletedProcess[str]:
    """Plans for a file of this text, said on stdin."""
    return daemon.command("plan", "-f", "-", "--as", name, f"--socket={daemon.socket}", *words, given=text)


def planned(daemon: Daemon, text: str, *, name: str = "web.yaml") -> list[str]:
    """The changes, as words."""
    result = plan(daemon, text, "-o", "json", name=name)
    assert result.returncode == 0, result.stderr + result.stdout
    return [f"{it['verb']} {it['words']}" for it in json.loads(result.stdout)["changes"]]


def refused(daemon: Daemon, text: str, *, name: str = "web.yaml") -> list[tuple[str, str]]:
    """What the daemon would not give, by whom and why."""
    result = plan(daemon, text, "-o", "json", name=name)
    assert result.returncode == 1, result.stderr + result.stdout
    return [(f"{it['workload_id']}/{it['if_name']}", it["message"]) for it in json.loads(result.stdout)["unmet"]]


async def _attached(client: AsyncClient, *keys: str) -> bool:
    return sorted([it.workload_id async for it in client.list() if it.phase == "Attached"]) == sorted(keys)


async def test_a_new_file_is_told_and_nothing_is_done(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Every object that then comes is in the plan; until the file is there, neither kernel nor daemon know of it."""
    text = document("web", web, addresses=["10.213.0.10"]) + "port_mappings: ['8080:80']\n"
    before = kernel_state(node), kernel_state(web)
    changes = planned(daemon, text)
    assert (kernel_state(node), kernel_state(web)) == before
    assert [it async for it in client.list()] == []
    assert any(it.startswith("+ route 10.213.0.10/32 dev np") for it in changes)
    assert any(it.startswith("+ address 10.213.0.10/32 dev eth0") for it in changes)
    assert {it[0] for it in changes} == {"+"}
    declare(daemon, "web.yaml", text)
    await until(lambda: _attached(client, "web"), "attached")
    assert planned(daemon, text) == []
    assert plan(daemon, text).stdout == "nothing to change\n"


async def test_a_file_that_takes_anothers_place_is_told_as_its_difference(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """What is added, what is altered, what goes; by another name it would conflict with the one that is there."""
    both = document("web", web, addresses=["10.213.0.10"]), document("db", db)
    declare(daemon, "web.yaml", *both)
    await until(lambda: _attached(client, "web", "db"), "attached")
    changes = planned(daemon, document("web", web, addresses=["10.213.0.11"]))
    assert any(it.startswith("+ address 10.213.0.11/32") for it in changes)
    assert any(it.startswith("- address 10.213.0.10/32") for it in changes)
    assert any(it.startswith("- link np") and "'netplumb:eth0:db'" in it for it in changes)
    assert await _attached(client, "web", "db")
    assert refused(daemon, both[0], name="other.yaml") == [
        ("web/eth0", "attachment web/eth0 is held by file/web.yaml; what file/other.yaml declares waits")
    ]


async def test_what_the_daemon_would_refuse_is_told_in_its_words(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """A key, a port, an address of others, one of the node's, a kernel parameter that may not be set, no such pool."""
    await client.attach(attach(db, addresses=["10.213.0.20"], ports=["8080:80"]))
    for more, said in (
        ("port_mappings: ['8080:80']\n", "port_mappings: tcp port 8080 (IPv4) is held by attachment db/eth0"),
        ("addresses: [10.213.0.20]\n", "address 10.213.0.20 is held by attachment db/eth0"),
        ("addresses: [10.213.0.1]\n", "addresses: 10.213.0.1 is the node's own address in pool 10.213.0.0/24"),
        ("sysctls: {net.ipv4.ip_forward: 1}\n", "sysctls['net.ipv4.ip_forward']: may not be set here"),
        ("pool: dmz\n", "pool: there is no pool 'dmz'"),
    ):
        ((key, message),) = refused(daemon, document("web", web) + more)
        assert key == "web/eth0"
        assert message.startswith(said)
        assert message.endswith("what file/web.yaml declares waits")
    ((key, message),) = refused(daemon, document("db", web))
    assert (key, message.split(";")[0]) == ("db/eth0", "attachment db/eth0 is held by rpc")
    assert "8080" in plan(daemon, document("web", web) + "port_mappings: ['8080:80']\n").stdout


async def test_a_port_that_a_process_holds_is_refused_where_the_settings_say_so(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """As it would be when the file comes."""
    daemon.configure(host_ports_in_use="refuse")
    await daemon.restart()
    text = document("web", web) + "port_mappings: ['8080:80']\n"
    with process(node, "tcp", "0.0.0.0"):
        ((_, told),) = refused(daemon, text)
        declare(daemon, "web.yaml", text)

        async def told_by_the_daemon() -> bool:
            return [it.message async for view in client.list() for it in view.unmet] == [told]

        await until(told_by_the_daemon, "the file's claim waits for what was told")
    assert "set host_ports_in_use to warn" in told


async def test_what_comes_with_a_namespace_that_is_to_be_made_is_told(daemon: Daemon, client: AsyncClient) -> None:
    """All of it, though there is nothing yet to compare with; and nothing is made for it."""
    text = document("app", "app-1", addresses=["10.213.0.10"], create=True)
    result = plan(daemon, text, "-o", "json")
    told = json.loads(result.stdout)
    assert (result.returncode, told["unmet"]) == (0, [])
    words = [f"{it['verb']} {it['words']}" for it in told["changes"]]
    assert any(it.startswith("+ route 10.213.0.10/32 dev np") for it in words)
    assert any(it.startswith("+ address 10.213.0.10/32 dev eth0") for it in words)
    assert not Host("app-1").exists
    file = declare(daemon, "web.yaml", text)
    await until(lambda: _attached(client, "app"), "attached")
    assert planned(daemon, text) == []
    file.unlink()
    await until(lambda: not Host("app-1").exists, "the namespace that was made is gone")


async def test_a_namespace_that_is_missing_is_no_refusal(daemon: Daemon) -> None:
    """It is waited for, or made; that is told, and the exit status is that of success."""
    result = plan(daemon, document("web", "web-to-come"))
    assert result.returncode == 0
    assert "web/eth0:" in result.stdout
    assert "/run/netns/web-to-come" in result.stdout


@pytest.mark.parametrize("output", ["table", "json"])
async def test_a_file_that_would_not_be_taken_is_exit_2(daemon: Daemon, web: Host, output: str) -> None:
    """With the lines that are wrong, as validate tells them."""
    result = plan(daemon, document("web", web) + "macc: x\nif_name: 'eth 0'\n", "-o", output)
    assert (result.returncode, result.stdout) == (2, "")
    assert "web.yaml:4: macc: is unknown; did you mean mac?" in " ".join(result.stderr.split())
    assert "web.yaml:5: if_name: 'eth 0' must not contain ' '" in " ".join(result.stderr.split())
