"""The daemon over TCP, for clients elsewhere: only with a certificate of its authority, and as far as its name may."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from netplumb.api.server.remote import CONNECTIONS_MAX
from netplumb.api.server.server import HANDSHAKE_WITHIN_MS
from netplumb.models.nft import REMOTE_TABLE
from tests.e2e.certificates import Authority
from tests.e2e.conftest import NODE_V4
from tests.e2e.daemons import COMMAND, FORKED, READY_WITHIN_S, Daemon
from tests.e2e.doctors import descriptors
from tests.e2e.hosts import Host
from tests.e2e.statefiles import document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

ADDRESS = f"{NODE_V4}:9480"
CLIENTS_AT_ONCE = 40
NOT_LET_IN = "remote clients connected and made no call"


@pytest.fixture
def authority(directory: Path) -> Authority:
    made = Authority(directory / "certs").founded()
    made.issued("node", alternative=f"DNS:node-1,IP:{NODE_V4}")
    for name in ("agent", "viewer", "stranger"):
        made.issued(name)
    return made


@pytest.fixture
async def served(daemon: Daemon, authority: Authority) -> Daemon:
    """One that serves remote clients: the agent, who may do all, and the viewer."""
    configure(daemon, authority)
    await daemon.restart()
    return daemon


def configure(daemon: Daemon, authority: Authority, **others: Any) -> None:
    settings: dict[str, Any] = {
        "remote": ADDRESS,
        "remote_cert": str(authority.place / "node.crt"),
        "remote_key": str(authority.place / "node.key"),
        "remote_ca": str(authority.certificate),
        "remote_all": ["agent"],
        "remote_read": ["viewer"],
    }
    daemon.configure(**settings | others)


class Elsewhere:
    """A host beyond the uplink, where the command runs with one certificate or another."""

    def __init__(self, host: Host, authority: Authority) -> None:
        self._host = host
        self._authority = authority

    def run(
        self, name: str, *words: str, signed: Authority | None = None, ca: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """The command as the holder of the certificate of this name."""
        place = (signed or self._authority).place
        own = [f"--cert={place / name}.crt", f"--key={place / name}.key", f"--ca={ca or self._authority.certificate}"]
        return FORKED.run(self._host, [*words, f"--host={ADDRESS}", *own], given=stdin, within_s=READY_WITHIN_S)

    def does(self, name: str, *words: str, stdin: str = "") -> str:
        done = self.run(name, *words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def cannot(self, code: int, name: str, *words: str, **how: Any) -> str:
        """Why, on one line."""
        done = self.run(name, *words, **how)
        assert (done.returncode, done.stdout) == (code, ""), done.stdout + done.stderr
        return " ".join(done.stderr.split())


@pytest.fixture
def elsewhere(outside: Host, authority: Authority) -> Elsewhere:
    return Elsewhere(outside, authority)


async def test_who_may_do_all_does_all(served: Daemon, elsewhere: Elsewhere, web: Host) -> None:
    assert elsewhere.does("agent", "attach", "web", f"--netns={web.path}") == "10.213.0.2\nfd13::2\n"
    assert elsewhere.does("agent", "wait", "web") == "web/eth0 attached\n"
    elsewhere.does("agent", "detach", "web")
    assert "eth0" not in web.links()


async def test_who_may_read_may_not_write(served: Daemon, elsewhere: Elsewhere, web: Host) -> None:
    """Each of the calls that write; and nothing is done of them. What would be done may be asked."""
    text = document("web", web)
    assert "ready" in elsewhere.does("viewer", "status")
    assert "Started" in elsewhere.does("viewer", "events")
    assert elsewhere.does("viewer", "apply", "-f", "-", "--dry-run", stdin=text) == "web/eth0 created (dry run)\n"
    for words, call in (
        (("attach", "web", f"--netns={web.path}"), "Attach"),
        (("apply", "-f", "-"), "Apply"),
        (("delete", "-f", "-"), "Delete"),
        (("gc", "--source=rpc", "--none", "--yes"), "GC"),
    ):
        why = elsewhere.cannot(1, "viewer", *words, stdin=text)
        assert f"the certificate of viewer may read alone, and {call} writes" in why
    async with served.client() as own:
        await own.attach(attach(web))
    assert "Detach writes" in elsewhere.cannot(1, "viewer", "detach", "web")
    assert "eth0" in web.links()


async def test_who_has_a_certificate_and_no_role_is_told_so(
    served: Daemon, authority: Authority, elsewhere: Elsewhere
) -> None:
    """In calls and in streams; until a reload of the settings gives a role."""
    for command in ("status", "watch", "events"):
        why = elsewhere.cannot(1, "stranger", command)
        assert "the certificate of stranger has no role here" in why
    configure(served, authority, remote_read=["viewer", "stranger"])
    served.reload()
    await until(lambda: elsewhere.run("stranger", "status").returncode == 0, "the stranger has a role")


async def test_nobody_is_let_in_by_another_authority_an_old_certificate_or_none(
    served: Daemon, authority: Authority, elsewhere: Elsewhere, outside: Host, directory: Path
) -> None:
    """Whatever name is in it."""
    impostor = Authority(directory / "others").founded()
    impostor.issued("agent")
    authority.issued("late", common="agent", expired=True)
    refused = f"the daemon on {ADDRESS} takes no certificate such as"
    assert f"{refused} {authority.place / 'late.crt'}: it is past its time" in elsewhere.cannot(3, "late", "status")
    assert f"{refused} {impostor.place / 'agent.crt'}" in elsewhere.cannot(3, "agent", "status", signed=impostor)
    nothing = f"sleep 2 | openssl s_client -connect {ADDRESS} -CAfile {authority.certificate} -quiet"
    assert "error:" in outside.run(f'sh -c "{nothing}"', ok=False)  # the handshake ends


async def test_who_is_not_let_in_is_a_line_of_the_log(
    served: Daemon, authority: Authority, elsewhere: Elsewhere, directory: Path
) -> None:
    """One for all that came since the last, however many; and gRPC writes none past it, in the daemon nor in a client.
    Clients that are let in are none of them, nor is the daemon's own look at its port."""
    impostor = Authority(directory / "others").founded()
    impostor.issued("agent")
    await until(lambda: elsewhere.run("agent", "status").returncode == 0, "it is served")
    elsewhere.does("viewer", "status")
    await asyncio.sleep(3 * HANDSHAKE_WITHIN_MS / 1000)
    assert NOT_LET_IN not in served.logged()
    for _ in range(3):
        assert "ssl_transport_security" not in elsewhere.cannot(3, "agent", "status", signed=impostor)
    await until(lambda: NOT_LET_IN in served.logged(), "it is told", within_s=20)
    assert "ssl_transport_security" not in served.logged()


async def test_a_client_takes_no_other_for_the_daemon(
    served: Daemon, authority: Authority, elsewhere: Elsewhere, directory: Path
) -> None:
    """One that another authority signed, nor one with another name than was asked for."""
    other = Authority(directory / "others", name="other").founded()
    assert "is not to be trusted" in elsewhere.cannot(3, "agent", "status", ca=other.certificate)
    authority.issued("node", alternative="DNS:node-2")
    await served.restart()
    assert "IP address mismatch" in elsewhere.cannot(3, "agent", "status")


async def test_a_certificate_is_renewed_without_a_restart(
    served: Daemon, authority: Authority, elsewhere: Elsewhere
) -> None:
    """And one that cannot be read leaves that of before in force."""
    (authority.place / "node.crt").write_text("nonsense")
    assert "ready" in elsewhere.does("agent", "status")
    authority.issued("node", alternative="DNS:node-2")
    assert "IP address mismatch" in elsewhere.cannot(3, "agent", "status")


async def test_what_is_wrong_with_the_clients_side_is_told(
    served: Daemon, authority: Authority, elsewhere: Elsewhere, outside: Host
) -> None:
    assert "nobody.key: No such file" in elsewhere.cannot(3, "nobody", "status")
    alone = outside.run(f"{COMMAND} status --host {ADDRESS}", ok=False)
    assert "wants --ca, --cert and --key too" in " ".join(alone.split())
    served.terminate()
    assert f"no daemon answers on {ADDRESS}: Connection refused" in elsewhere.cannot(3, "agent", "status")


async def test_somebody_else_at_the_address_is_told_from_nobody(
    daemon: Daemon, elsewhere: Elsewhere, outside: Host
) -> None:
    program = (
        "import socket\ns = socket.create_server(('192.0.2.1', 9480))\nwhile True: s.accept()[0].sendall(b'hello')"
    )
    other = await asyncio.create_subprocess_exec(*daemon.node.command(sys.executable, "-c", program))
    try:
        await until(lambda: "no daemon answers" not in elsewhere.run("agent", "status").stderr, "it listens")
        assert f"who answers on {ADDRESS} is no daemon: " in elsewhere.cannot(3, "agent", "status")
    finally:
        other.kill()
        await other.wait()


async def test_who_only_connects_takes_no_place_for_long(
    served: Daemon, authority: Authority, elsewhere: Elsewhere, outside: Host
) -> None:
    """Whoever reaches the port can connect: to no more than are bounded, and until the handshake is overdue."""
    configure(served, authority, remote_connections_per_s=0)
    await served.restart()
    before = descriptors(served.process.pid)
    with ExitStack() as held:
        with outside.enter():
            for _ in range(2 * CONNECTIONS_MAX):
                held.enter_context(socket.create_connection((NODE_V4, 9480), 10))
        await until(lambda: descriptors(served.process.pid) - before >= CONNECTIONS_MAX // 2, "connections are taken")
        assert descriptors(served.process.pid) - before <= CONNECTIONS_MAX + 8
        async with served.client() as own:
            assert (await own.status()).ready
        await until(
            lambda: descriptors(served.process.pid) - before < CONNECTIONS_MAX // 2, "they are let go", within_s=20
        )
        assert "ready" in elsewhere.does("agent", "status")


async def test_who_connects_again_and_again_keeps_nobody_out(
    served: Daemon, node: Host, outside: Host, elsewhere: Elsewhere
) -> None:
    """Another address is let in meanwhile, and this one takes few places; nobody else on the node can lift that."""
    outside.ip("address add 192.0.2.66/24 dev eth0")
    assert "ready" in elsewhere.does("agent", "status")
    node.run("nft flush ruleset")
    before = descriptors(served.process.pid)
    with ExitStack() as held:
        with outside.enter():
            for _ in range(2 * CONNECTIONS_MAX):
                made = held.enter_context(socket.socket())
                made.bind(("192.0.2.66", 0))
                made.setblocking(False)
                made.connect_ex((NODE_V4, 9480))
        for _ in range(5):
            assert "ready" in elsewhere.does("agent", "status")
        assert descriptors(served.process.pid) - before < CONNECTIONS_MAX // 2
    served.terminate()
    assert REMOTE_TABLE not in node.run("nft list tables")


async def test_clients_that_come_back_at_once_are_let_in(served: Daemon, elsewhere: Elsewhere, outside: Host) -> None:
    """Many of one address, as behind a router that translates addresses."""
    with ExitStack() as held, outside.enter():
        for _ in range(2 * CLIENTS_AT_ONCE):
            held.enter_context(socket.create_connection((NODE_V4, 9480), 30))
    assert "ready" in elsewhere.does("agent", "status")


async def test_what_is_wrong_with_it_keeps_nothing_from_its_work(
    daemon: Daemon, authority: Authority, node: Host, web: Host
) -> None:
    """A port that another holds, and a key that does not belong to the certificate: told by a condition, and healed."""
    configure(daemon, authority, remote_key=str(authority.place / "agent.key"))
    await daemon.restart()

    async def told(words: str) -> bool:
        async with daemon.client() as own:
            conditions = {it.type: it.message for it in (await own.status()).conditions}
        return words in conditions.get("RemoteUnavailable", "")

    await until(lambda: told("are no certificate, its key and an authority"), "the key is told of")
    async with daemon.client() as own:
        await own.attach(attach(web))
    daemon.terminate()
    configure(daemon, authority)
    with node.enter():
        other = socket.create_server((NODE_V4, 9480))
    with closing(other):
        await daemon.start()
        await until(lambda: told(f"cannot be served at {ADDRESS}"), "the port is told of")


@pytest.mark.parametrize("left_out", ["remote_cert", "remote_key", "remote_ca", "roles"])
async def test_it_is_not_half_switched_on(daemon: Daemon, authority: Authority, left_out: str) -> None:
    daemon.terminate()
    others: dict[str, Any] = {"remote_all": [], "remote_read": []} if left_out == "roles" else {left_out: None}
    configure(daemon, authority, **others)
    refused = daemon.command("daemon", f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert ("lets nobody in" if left_out == "roles" else f"wants {left_out} too") in said


def test_without_it_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, netplumb.reconciler.daemon, netplumb.reconciler.main;"
        "print({'netplumb.api.server.remote', 'netplumb.api.server.certificates'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
