"""What enforces network policies is damaged, and put right because of what the kernel tells: this daemon resyncs once
an hour. Until then what passes is what the damage left."""

from __future__ import annotations

import re

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.test_policies import FROM_WEB, PORT, enforced
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

KINDS = {
    "element removed from a set of peers": "delete element inet netplumb {peers} {{ {np} }}",
    "set of peers flushed": "flush set inet netplumb {peers}",
    "element removed from the map of who is isolated": "delete element inet netplumb policy_ingress {{ {db} }}",
    "map of who is isolated flushed": "flush map inet netplumb policy_ingress",
    "chain of a policy flushed": "flush chain inet netplumb {by}",
    "chain of a combination flushed": "flush chain inet netplumb {of}",
    "hook flushed": "flush chain inet netplumb policy_ingress",
    "stranger let among the peers": "add element inet netplumb {peers} {{ npstranger }}",
    "table deleted": "delete table inet netplumb",
    "whole ruleset flushed": "flush ruleset",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_put_right(daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, kind: str) -> None:
    """The table is again what it was, object by object, and enforces what it did."""
    declare(daemon, "policy.yaml", FROM_WEB)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web, labels={"app": "web"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    before = _table(node)
    words = {
        "np": node_if_name(AttachmentKey("web", "eth0")),
        "db": node_if_name(AttachmentKey("db", "eth0")),
        **{name: _named(before, name) for name in ("peers", "by", "of")},
    }
    node.run(f"nft '{KINDS[kind].format(**words)}'")
    await until(lambda: _same(node, before), "the table is as it was")
    with serving(db, PORT), serving(web, PORT):
        assert ask(web, address, PORT) is not None
        await client.attach(attach(web, labels={"app": "other"}))
        assert unanswered(web, address, PORT)
    assert not (await client.plan()).changes


def _same(node: Host, before: str) -> bool:
    return sorted(_table(node).splitlines()) == sorted(before.splitlines())


def _table(node: Host) -> str:
    """Ours, if it is there."""
    return "\n".join(
        re.findall(r"^table inet netplumb \{.*?^\}", node.run("nft -s list ruleset"), re.MULTILINE | re.DOTALL)
    )


def _named(table: str, kind: str) -> str:
    patterns = {"peers": r"set (peers_\w+)", "by": r"chain (ingress_by_\w+)", "of": r"chain (ingress_of_\w+)"}
    found = re.search(patterns[kind], table)
    assert found is not None
    return found[1]
