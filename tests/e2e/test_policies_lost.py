"""The store is lost, and with it the policies that only it knew: nothing that they isolated opens."""

from __future__ import annotations

import asyncio
from pathlib import Path

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import serving
from tests.e2e.hosts import Host
from tests.e2e.losses import start_without_store, store_rebuilt
from tests.e2e.statefiles import declare, document
from tests.e2e.test_policies import (
    DB_V4,
    FROM_WEB,
    HEAD,
    PORT,
    SPY_V4,
    WEB_V4,
    attached,
    denied,
    enforced,
    in_force,
    passes,
)
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition

MUTE = HEAD + "metadata: {name: mute}\nspec: {podSelector: {matchLabels: {app: spy}}, policyTypes: [Egress]}\n"


def applied(daemon: Daemon, file: Path, *policies: str) -> None:
    file.write_text("---\n".join(policies))
    assert not daemon.command("apply", "-f", str(file), f"--socket={daemon.socket}").returncode


def explained(daemon: Daemon, *ends: str) -> tuple[int, str]:
    done = daemon.command("policy", "explain", *ends, f"--socket={daemon.socket}")
    return done.returncode, done.stdout


async def told(client: AsyncClient) -> str:
    found = await store_rebuilt(client)
    return found.message if found is not None else ""


async def test_what_was_isolated_stays_so_though_its_labels_are_said_again(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost, tmp_path: Path
) -> None:
    """Workloads of a file, policies of none: who was let in is, the others are not, through restarts; Status names what
    is lost, Explain says why, and it ends when the policies are said again or let go."""
    spy = make_host("spy")
    declare(
        daemon,
        "site.yaml",
        document("web", web, addresses=[WEB_V4], app="web"),
        document("db", db, addresses=[DB_V4], app="db"),
        document("spy", spy, addresses=[SPY_V4], app="spy"),
    )
    await until(lambda: attached(client, "web", "db", "spy"), "attached")
    policies = tmp_path / "policies.yaml"
    applied(daemon, policies, FROM_WEB, MUTE)
    await until(lambda: enforced(node), "the policies")

    def as_before() -> bool:
        return passes(web, DB_V4) and denied(spy, DB_V4) and denied(spy, WEB_V4)

    with serving(db, PORT), serving(web, PORT):
        await until(as_before, "enforced")
        await start_without_store(daemon)
        for _ in range(2):
            async with daemon.client() as again:
                await until(lambda: attached(again, "web", "db", "spy"), "attached")
                await until(lambda: in_force(again), "in sync")
                assert as_before()
                assert "2 network policies (default/from-web, default/mute)" in await told(again)
                assert condition((await again.get("db")), "PoliciesHeld") is not None
                assert (await again.check("db")).in_sync
            code, why = explained(daemon, "spy", "db")
            assert (code, why.count("not known")) == (1, 2)
            await daemon.restart()
        async with daemon.client() as again:
            await until(lambda: in_force(again), "in sync")
            applied(daemon, policies, FROM_WEB)
            await until(lambda: in_force(again), "in sync")
            assert as_before()
            assert "1 network policy (default/mute)" in await told(again)
            policies.write_text(MUTE)
            assert not daemon.command("delete", "-f", str(policies), f"--socket={daemon.socket}").returncode
            await until(lambda: passes(spy, WEB_V4), "let go")
            assert denied(spy, DB_V4)
            assert passes(web, DB_V4)
            assert not await told(again)
            await until(lambda: in_force(again), "in sync")
            policies.write_text(FROM_WEB)
            assert not daemon.command("delete", "-f", str(policies), f"--socket={daemon.socket}").returncode
            await until(lambda: not enforced(node), "nothing is left")
            assert passes(spy, DB_V4)
            assert await in_force(again)


async def test_what_nobody_knows_the_labels_of_stays_whole(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost, tmp_path: Path
) -> None:
    """Attached by a client, isolated by what was applied: both lost. The node is in sync, and stays so, and those who
    were let in still are, whoever says his labels again; a set of policies that is said whole ends it for those whose
    labels are known."""
    spy = make_host("spy")
    declare(daemon, "web.yaml", document("web", web, addresses=[WEB_V4], app="web"))
    await until(lambda: attached(client, "web"), "attached")
    await client.attach(attach(db, labels={"app": "db"}, addresses=[DB_V4]))
    await client.attach(attach(spy, labels={"app": "spy"}))
    policies = tmp_path / "policies.yaml"
    applied(daemon, policies, FROM_WEB)
    await until(lambda: enforced(node), "the policy")
    with serving(db, PORT):
        assert passes(web, DB_V4)
        await start_without_store(daemon)
        async with daemon.client() as again:
            await until(lambda: attached(again, "web", "db", "spy"), "attached")
            for _ in range(4):
                daemon.reload()
                await asyncio.sleep(0.5)
                await until(lambda: in_force(again), "in sync")
                assert not [it for it in (await again.status()).conditions if it.type == "NodeFailed" and it.status]
                assert (await again.check("db")).in_sync
                assert passes(web, DB_V4)
                assert denied(spy, DB_V4)
            assert condition((await again.get("db")), "PoliciesHeld") is not None
            assert "not known" in explained(daemon, "web", "db")[1]
            said = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
            policies.write_text(said)
            assert not daemon.command("apply", "--prune", "-f", str(policies), f"--socket={daemon.socket}").returncode
            await until(lambda: in_force(again), "in sync")
            assert denied(spy, DB_V4)
            await again.attach(attach(db, labels={"app": "db"}, addresses=[DB_V4]))
            await until(lambda: passes(spy, DB_V4), "its labels are said, and no policy is")
            await until(lambda: not enforced(node), "nothing is left")
