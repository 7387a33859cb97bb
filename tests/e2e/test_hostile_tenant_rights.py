"""A workload whose namespace belongs to a user namespace of its own, where it is root, and nowhere else."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import ROOT
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4

WITHIN_S = 20


@pytest.fixture
def mallory() -> Iterator[subprocess.Popen[str]]:
    """A process in namespaces of its own, which it owns."""
    words = ("unshare", "--user", "--map-root-user", "--net", "--", "sh", "-c", "echo there; exec sleep 600")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        try:
            yield process
        finally:
            process.kill()


def within(mallory: subprocess.Popen[str], *words: str) -> str:
    """What a program writes that runs with its rights."""
    entered = ("nsenter", f"--target={mallory.pid}", "--user", "--net", "--preserve-credentials", "--", *words)
    return subprocess.run(entered, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=True).stdout


async def test_it_reaches_no_link_of_the_node(
    client: AsyncClient, node: Host, web: Host, mallory: subprocess.Popen[str]
) -> None:
    """The kernel tells each end of a veth a number for the namespace of the other, by which whoever may, can change
    links there. Who is root in a user namespace of its own may not."""
    victim = await client.attach(attach(web))
    await client.attach(attach(f"/proc/{mallory.pid}/ns/net", "mallory"))
    name = victim.attachment.node_if_name
    said = json.loads(within(mallory, sys.executable, "-m", "tests.e2e.reaching", str(node.link(name)["ifindex"])))
    assert said.keys() == {"read", "mark", "remove"}
    assert set(said.values()) <= {errno.EPERM, errno.EACCES}
    assert (await client.check("web")).in_sync


async def test_it_is_attached_repaired_and_detached_as_any(client: AsyncClient, mallory: subprocess.Popen[str]) -> None:
    made = await client.attach(attach(f"/proc/{mallory.pid}/ns/net", "mallory"))
    within(mallory, "ip", "route", "flush", "dev", "eth0")
    await until(lambda: "default via" in within(mallory, "ip", "route"), "its routes are back")
    within(mallory, "ip", "link", "delete", "eth0")
    await until(lambda: v4(made) in within(mallory, "ip", "address"), "its interface is back")
    await client.detach(detach("mallory"))
    assert "eth0" not in within(mallory, "ip", "link")
