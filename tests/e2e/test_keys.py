"""Keys on the command line: as they are printed, and cut short."""

from __future__ import annotations

import json

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.wishes import attach, detach

POD = "3f1e9a7c-52d4-4f0e-9d31-0a1b2c3d4e5f"
USAGE, NOT_FOUND = 2, 4


class Commands:
    """The command, asking one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def __call__(self, *words: str) -> tuple[int, str, str]:
        done = self._daemon.command(*words, f"--socket={self._daemon.socket}")
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def netplumb(daemon: Daemon) -> Commands:
    return Commands(daemon)


async def test_every_key_that_is_printed_is_taken(netplumb: Commands, client: AsyncClient, web: Host) -> None:
    """What `check` prints before the colon, and the beginning of an id."""
    for name in ("eth0", "net1"):
        await client.attach(attach(web, POD, if_name=name))
    _, printed, _ = netplumb("check")
    keys = [line.partition(":")[0] for line in printed.splitlines() if not line.startswith("node")]
    assert keys == [f"{POD}/eth0", f"{POD}/net1"]
    for word in (*keys, POD, "3f1e9", "3f1e9/net1"):
        name = "net1" if word.endswith("net1") else "eth0"
        assert netplumb("check", word)[:2] == (0, f"{POD}/{name}: in sync\n")
        for command in (("get", word), ("describe", word)):
            code, text, _ = netplumb(*command)
            assert (code, name in text) == (0, True)
        assert f"{POD}/{name}:" in netplumb("plan", "detach", word)[1]
    assert netplumb("detach", "3f1e9/net1") == (0, "", "")
    assert [it.if_name async for it in client.list()] == ["eth0"]
    assert "net1" not in web.links()


async def test_a_workload_without_eth0_is_found_by_a_part_of_its_id(
    daemon: Daemon, netplumb: Commands, client: AsyncClient, web: Host
) -> None:
    """By those that show a whole workload, also when it is detached, and by `trace`, which asks no daemon."""
    for name in ("net1", "net2"):
        await client.attach(attach(web, POD, if_name=name))
    code, text, _ = netplumb("describe", "3f1e")
    assert (code, "net1" in text, "net2" in text) == (0, True, True)
    where = (f"--data-dir={daemon.data_dir}", f"--config={daemon.config}")
    traced = daemon.command("trace", "3f1e9/net2", "node", "--proto", "icmp", *where)
    assert (traced.returncode, f"{POD}/net2" in traced.stdout) == (0, True), traced.stdout + traced.stderr
    for name in ("net1", "net2"):
        await client.detach(detach(POD, if_name=name))
    for word, keys in (("3f1e", ["net1", "net2"]), ("3f1e/net2", ["net2"])):
        _, happened, _ = netplumb("events", word, "-o", "json")
        names = [json.loads(line)["if_name"] for line in happened.splitlines()]
        assert sorted({*names}) == keys


async def test_what_is_not_there_names_what_is(netplumb: Commands, client: AsyncClient, web: Host) -> None:
    """`detach` takes nothing away and says so; `get` fails."""
    await client.attach(attach(web, if_name="net1"))
    code, said, told = netplumb("detach", "web")
    assert (code, said) == (0, "")
    assert "nothing was detached: no attachment web/eth0; there is web/net1" in told
    code, said, told = netplumb("get", "web")
    assert (code, said) == (NOT_FOUND, "")
    assert "there is web/net1" in told
    assert "net1" in web.links()
    assert netplumb("detach", "web/net1") == (0, "", "")
    assert netplumb("detach", "web/net1") == (0, "", ""), "what is gone is as good as detached"


@pytest.mark.parametrize(
    "command", ["detach WORD", "plan detach WORD", "get WORD", "check WORD", "attach WORD --netns web"]
)
async def test_two_names_of_an_interface_are_refused(
    netplumb: Commands, client: AsyncClient, web: Host, command: str
) -> None:
    """One in the word, another beside it: nothing passes for done. The same name twice is that interface."""
    await client.attach(attach(web, if_name="net1"))
    for word in ("web/net1", "web/net2"):
        code, said, told = netplumb(*command.replace("WORD", word).split(), "--if-name", "eth0")
        assert (code, said) == (USAGE, "")
        assert f"{word} means the interface {word[-4:]} of web, and --if-name says eth0" in told
    assert netplumb(*command.replace("WORD", "web/net1").split(), "--if-name", "net1")[0] == 0
    there = [(it.workload_id, it.if_name) async for it in client.list()]
    assert there == ([] if command.startswith("detach") else [("web", "net1")])


async def test_an_id_with_a_slash_is_no_contradiction(netplumb: Commands, client: AsyncClient, web: Host) -> None:
    """What is not there may have been one."""
    await client.attach(attach(web, "ns/web", if_name="net1"))
    assert netplumb("detach", "ns/db", "--if-name", "eth0") == (0, "", "")
    assert netplumb("detach", "ns/web", "--if-name", "net1") == (0, "", "")
    assert not [it async for it in client.list()]


async def test_attach_takes_a_key(netplumb: Commands, client: AsyncClient, web: Host) -> None:
    """The same key again is the same attachment."""
    first = netplumb("attach", "web/net1", "--netns", web.path)
    assert first[0] == 0
    assert netplumb("attach", "web", "--if-name", "net1", "--netns", web.path) == first
    assert [(it.workload_id, it.if_name) async for it in client.list()] == [("web", "net1")]


async def test_a_dry_run_collects_nothing(netplumb: Commands, client: AsyncClient, web: Host, db: Host) -> None:
    """It shows what a run after it takes away."""
    await client.attach(attach(web, container_id=POD))
    await client.attach(attach(db))
    words = ("gc", "--source", "rpc", "--alive", "3f1e9a7c")
    would = netplumb(*words, "--dry-run")[1]
    assert would.startswith("would detach db/eth0")
    assert "eth0" in db.links()
    assert netplumb(*words)[1] == would.replace("would detach", "detached")
    assert [it.workload_id async for it in client.list()] == ["web"]
    assert "eth0" not in db.links()
