"""Documents in etcd are wanted on a node, and what came of them is written back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster.sites import Site, conditions, site
from tests.e2e.nodes import Machine
from tests.e2e.waiting import until

LONG_S = 30.0


def document(name: str, **more: Any) -> str:
    return json.dumps({"kind": "Attachment", "workload_id": name, "netns": {"name": name}, **more})


def wanted(machine: Machine, name: str) -> str:
    return f"/netplumb/nodes/{machine.name}/attachments/{name}"


def told(it: Site, machine: Machine, name: str) -> dict[str, Any]:
    """What the node wrote back of an attachment."""
    found = it.etcd.ctl("get", "--print-value-only", f"/netplumb/nodes/{machine.name}/status/{name}/eth0")
    return json.loads(found) if found.strip() else {}


async def test_a_document_in_etcd_attaches_and_detaches(directory: Path) -> None:
    """It is a source as files are: what is wrong with it tears nothing down, and neither does an etcd that is away."""
    async with site(1, directory) as it:
        (node,) = it.machines
        web = node.workload("web")
        it.etcd.ctl("put", wanted(node, "web"), document("web"))
        await until(lambda: told(it, node, "web").get("phase") == "Attached", "it is told as attached", within_s=LONG_S)
        state = told(it, node, "web")
        assert state["source"] == "cluster"
        assert set(state["addresses"]) == {address.partition("/")[0] for address in web.addresses("eth0")}

        it.etcd.ctl("put", wanted(node, "web"), "kind: [")

        async def broken() -> bool:
            return "cluster/web" in (await conditions(node)).get("StateFileBroken", "")

        await until(broken, "the mistake is told", within_s=LONG_S)
        assert "eth0" in web.links()
        it.etcd.ctl("put", wanted(node, "web"), document("web", mtu=1400))
        await until(lambda: web.link("eth0")["mtu"] == 1400, "it is changed", within_s=LONG_S)

        it.etcd.kill()
        await node.daemon.restart()
        assert web.link("eth0")["mtu"] == 1400
        it.etcd.start()

        async def followed() -> bool:
            return "EtcdAway" not in await conditions(node)

        await until(followed, "etcd is followed again", within_s=LONG_S)
        assert web.link("eth0")["mtu"] == 1400
        it.etcd.ctl("del", wanted(node, "web"))
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)
        await until(lambda: not told(it, node, "web"), "nothing is told of it any more", within_s=LONG_S)


async def test_a_document_that_is_withdrawn_while_the_daemon_does_not_run_is_gone_after(directory: Path) -> None:
    async with site(1, directory) as it:
        (node,) = it.machines
        web = node.workload("web")
        it.etcd.ctl("put", wanted(node, "web"), document("web"))
        await until(lambda: "eth0" in web.links(), "it is attached", within_s=LONG_S)
        node.daemon.terminate()
        it.etcd.ctl("del", wanted(node, "web"))
        await node.daemon.start(ready=False)
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)
