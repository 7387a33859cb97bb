"""`netplumb apply`, `delete` and `diff`: documents that are said to a running daemon, kept as those of files are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, refused


def netplumb(daemon: Daemon, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return daemon.command(*words, f"--socket={daemon.socket}", given=stdin)


def applied(daemon: Daemon, text: str, *words: str) -> list[str]:
    """What the command says, a line each."""
    done = netplumb(daemon, "apply", "-f", "-", *words, stdin=text)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.splitlines()


async def sources(client: AsyncClient) -> dict[str, str]:
    return {it.workload_id: it.source async for it in client.list()}


async def test_what_is_applied_is_attached_and_stays_over_a_restart(
    daemon: Daemon, client: AsyncClient, web: Host, node: Host
) -> None:
    """Each document in its own words; the same again changes nothing, in the kernel neither."""
    text = document("web", web, addresses=["10.213.0.7"], app="web")
    assert applied(daemon, text) == ["web/eth0 created"]
    assert netplumb(daemon, "wait", "web", "--for", "attached", "--timeout", "10s").returncode == 0
    assert "10.213.0.7/32" in web.addresses("eth0")
    before = kernel_state(node, web)
    assert applied(daemon, text) == ["web/eth0 unchanged"]
    await daemon.restart()
    async with daemon.client() as again:
        assert await sources(again) == {"web": "applied"}
    assert kernel_state(node, web) == before


async def test_a_namespace_that_is_made_and_one_that_comes_later(daemon: Daemon, client: AsyncClient) -> None:
    """A document means a path, as in a state file."""
    applied(daemon, document("made", "made-1", create=True) + "---\n" + document("later", "later-1"))
    assert netplumb(daemon, "wait", "made").returncode == 0
    later = Host("later-1").create()
    try:
        assert netplumb(daemon, "wait", "later").returncode == 0
        assert netplumb(daemon, "delete", "made", "later").returncode == 0
        assert not Host("made-1").exists
        assert "eth0" not in later.links()
    finally:
        later.remove()


async def test_applies_add_up_and_prune_withdraws_the_rest(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """What others hold is never pruned."""
    await client.attach(attach(db, "by-rpc"))
    declare(daemon, "file.yaml", document("of-file", "of-file", create=True))
    await until(lambda: _there(client, "of-file"), "the file is declared")
    applied(daemon, document("web", web))
    assert applied(daemon, document("two", "two")) == ["two/eth0 created"]
    assert applied(daemon, document("two", "two"), "--prune", "--dry-run") == [
        "two/eth0 unchanged (dry run)",
        "web/eth0 pruned (dry run)",
    ]
    assert set(await sources(client)) == {"by-rpc", "of-file", "two", "web"}
    assert applied(daemon, document("two", "two"), "--prune") == ["two/eth0 unchanged", "web/eth0 pruned"]
    await until(lambda: "eth0" not in web.links(), "what was pruned is gone")
    assert await sources(client) == {"by-rpc": "rpc", "of-file": "file/file.yaml", "two": "applied"}


async def _there(client: AsyncClient, workload_id: str) -> bool:
    return workload_id in await sources(client)


async def test_a_change_is_told_by_diff_and_made_by_apply(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """diff exits as kubectl's does: 1 where something would change."""
    text = document("web", web, app="web")
    (new,) = [netplumb(daemon, "diff", "-f", "-", stdin=text)]
    assert (new.returncode, new.stdout.splitlines()[0]) == (1, "+ web/eth0")
    assert "+ route 10.213.0.2/32 dev" in new.stdout
    applied(daemon, text)
    netplumb(daemon, "wait", "web")
    assert netplumb(daemon, "diff", "-f", "-", stdin=text).returncode == 0
    changed = document("web", web, app="shop") + "mtu: 1400\n"
    told = netplumb(daemon, "diff", "-f", "-", stdin=changed).stdout.splitlines()
    assert told[:3] == ["~ web/eth0", "    mtu: none -> 1400", "    labels: {app: web} -> {app: shop}"]
    assert any("mtu 1500" in line and line.startswith("~ link") for line in told)
    assert applied(daemon, changed) == ["web/eth0 configured, mtu: none -> 1400, labels: {app: web} -> {app: shop}"]
    await until(lambda: web.link("eth0")["mtu"] == 1400, "the change is in the kernel")


async def test_what_another_holds_is_waited_for(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """Told in a dry run too, with exit 1; and had when it is let go."""
    await client.attach(attach(db, ports=["8080:80"]))
    text = document("web", web) + "port_mappings: ['8080:80']\n"
    for words in (("--dry-run",), ()):
        done = netplumb(daemon, "apply", "-f", "-", *words, stdin=text)
        assert done.returncode == 1
        assert done.stdout.startswith("web/eth0 waiting"), "what is not made is not said to be created"
        assert "waits: port_mappings: tcp port 8080" in done.stdout
        assert "held by attachment db/eth0" in done.stdout
    await client.detach(detach("db"))
    assert netplumb(daemon, "wait", "web").returncode == 0


async def test_delete_takes_away_what_was_applied_and_nothing_else(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    await client.attach(attach(db))
    text = document("web", web, app="web")
    applied(daemon, text)
    netplumb(daemon, "wait", "web")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "declared by applied", "`netplumb delete` it instead"):
        await client.detach(detach("web"))
    missing = netplumb(daemon, "delete", "db")
    assert (missing.returncode, missing.stdout) == (4, "")
    assert "db/eth0 was not applied" in missing.stderr
    assert netplumb(daemon, "delete", "db", "--ignore-not-found").returncode == 0
    assert netplumb(daemon, "delete", "-l", "app=web", "--dry-run").stdout == "web/eth0 deleted (dry run)\n"
    assert "eth0" in web.links()
    assert netplumb(daemon, "delete", "-f", "-", stdin=text).stdout == "web/eth0 deleted\n"
    assert "eth0" not in web.links()
    assert set(await sources(client)) == {"db"}


async def test_what_cannot_be_read_is_taken_in_no_part(
    daemon: Daemon, client: AsyncClient, web: Host, directory: Path
) -> None:
    """Nor what says nothing, which a command that failed may have left: with --prune it would withdraw all."""
    applied(daemon, document("web", web))
    good, bad = directory / "a.yaml", directory / "b.yaml"
    good.write_text(document("two", "two"))
    bad.write_text(document("three", "three") + "macc: x\n")
    done = netplumb(daemon, "apply", "-f", str(good), "-f", str(bad), "--prune")
    assert done.returncode == 2
    assert "b.yaml:4: macc: is unknown; did you mean mac?" in done.stderr
    for nothing in ("", "# nothing\n"):
        assert netplumb(daemon, "apply", "-f", "-", "--prune", stdin=nothing).returncode == 2
    bad.write_text(document("two", "two"))
    assert "two/eth0 is declared in a.yaml and again in b.yaml" in netplumb(
        daemon, "apply", "-f", str(directory / "a.yaml"), "-f", str(bad)
    ).stderr.replace("\n  ", " ")
    assert set(await sources(client)) == {"web"}


@pytest.mark.parametrize("command", ["apply", "diff"])
async def test_answers_for_scripts(daemon: Daemon, web: Host, command: str) -> None:
    done = netplumb(daemon, command, "-f", "-", "-o", "json", stdin=document("web", web))
    found = json.loads(done.stdout)
    (it,) = found if command == "apply" else found["applied"]
    assert (it["workload_id"], it["result"], it["waiting"]) == ("web", "created", "")


ASKED = (
    "addresses: [10.213.0.7]\nmtu: 1400\nbandwidth: {ingress_rate: 100M}\nroutes: [{dst: 198.51.100.0/24}]\n"
    "sysctls: {net.core.somaxconn: '512'}\nport_mappings: [{host_port: 8080, container_port: 80}]\n"
    "dns: {servers: [192.0.2.53]}\nisolate_node: true\n"
)


@pytest.mark.parametrize("output", ["yaml", "json"])
async def test_what_get_prints_is_applied(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host, output: str
) -> None:
    """One, several or all; it is the wish, so that the same again changes nothing, and what was assigned stays free."""
    text = document("web", web, app="web") + ASKED + "---\n" + document("db", db)
    applied(daemon, text)
    assert netplumb(daemon, "wait", "web", "db").returncode == 0
    for names, count in ((["web"], 1), (["web", "db"], 2), ([], 2)):
        printed = netplumb(daemon, "get", *names, "-o", output).stdout
        assert [line.partition(" ")[2] for line in applied(daemon, printed)] == ["unchanged"] * count
        assert netplumb(daemon, "diff", "-f", "-", stdin=printed).returncode == 0
    printed = netplumb(daemon, "get", "web", "db", "-o", output).stdout
    assert netplumb(daemon, "delete", "-f", "-", stdin=printed).returncode == 0
    assert sorted(applied(daemon, printed)) == ["db/eth0 created", "web/eth0 created"]
    assert netplumb(daemon, "wait", "web", "db").returncode == 0
    view = await client.get("web")
    assert (view.mtu, next(iter(view.addresses)), dict(view.sysctls)) == (
        1400,
        "10.213.0.7",
        {"net.core.somaxconn": "512"},
    )


async def test_what_get_prints_of_anothers_is_not_taken_over(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    await client.attach(attach(web))
    printed = netplumb(daemon, "get", "web", "-o", "yaml").stdout
    refused_ = netplumb(daemon, "apply", "-f", "-", stdin=printed)
    assert refused_.returncode
    assert "rpc" in refused_.stdout + refused_.stderr
    assert (await client.get("web")).source == "rpc"


async def test_several_are_got_by_their_names(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """A line each, in the order in which they are named; one that is not there is told, and exits as it does alone."""
    await client.attach(attach(web))
    await client.attach(attach(db))
    assert netplumb(daemon, "get", "web", "db/eth0", "web", "-o", "name").stdout.split() == ["web/eth0", "db/eth0"]
    assert [line.split()[0] for line in netplumb(daemon, "get", "db", "web").stdout.splitlines()[1:]] == ["db", "web"]
    missing = netplumb(daemon, "get", "web", "nobody")
    assert (missing.returncode, "nobody" in missing.stderr) == (4, True)
    assert netplumb(daemon, "get", "web", "db", "--if-name", "eth0").returncode == 2
