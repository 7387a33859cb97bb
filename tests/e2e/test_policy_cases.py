"""The policies that people write, from the documentation of Kubernetes and the recipes that they copy, each as it is
written and by real packets; and those of our own page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import NODE_V4, UPLINK, MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import UNANSWERED_S, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.test_readme import blocks
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, texts
from tests.unit.decide.policies import manifests

PORT, OTHER_PORT, MAPPED = 5432, 5433, 8080
IN_RANGE, BELOW, LAST = 32100, 31999, 32768

CAST = {
    "web": ("shop", {"app": "web"}),
    "db": ("shop", {"app": "db"}),
    "job": ("prod", {"app": "job"}),
    "spy": ("monitoring", {"app": "web"}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
}
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, labels: {purpose: production}}\n"
INSIDE, OUTSIDE_OF_RANGE = "10.0.0.5", "10.0.1.5"
CLIENT, EXCEPTED = "172.17.0.5", "172.17.1.5"


@dataclass
class Town:
    """Workloads of some namespaces, and somebody outside."""

    daemon: Daemon
    client: AsyncClient
    outside: Host
    stack: ExitStack
    hosts: dict[str, Host] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _served: set[tuple[str, int]] = field(default_factory=set)

    async def policies(self, *documents: str, count: int) -> None:
        declare(self.daemon, "policies.yaml", *documents)

        async def in_force() -> bool:
            return len(await self.client.policies()) == count and not (await self.client.plan()).changes

        await until(in_force, "the policies are in force")

    async def attach(self, name: str, namespace: str, labels: dict[str, str], ports: Sequence[str] = ()) -> None:
        request = attach(self.hosts[name], labels=labels, namespace=namespace, ports=ports)
        self.addresses[name] = texts(await self.client.attach(request))

    def passes(self, source: str, to: str, port: int = PORT, protocol: str = "tcp") -> bool:
        """In all families that the destination has, which agree."""
        target = self.hosts.get(to, self.outside)
        if (target.name, port) not in self._served:
            self._served.add((target.name, port))
            self.stack.enter_context(serving(target, port))
        asked = self.hosts[source]
        at = self.addresses.get(to, (to,))
        found = {ask(asked, address, port, protocol, within_s=UNANSWERED_S) is not None for address in at}
        assert len(found) == 1, f"the families do not agree: {at}"
        return found.pop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def town(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, make_host: MakeHost, stack: ExitStack
) -> Town:
    for address in (INSIDE, OUTSIDE_OF_RANGE, CLIENT, EXCEPTED):
        outside.ip(f"address add {address}/32 dev eth0")
    for prefix in ("10.0.0.0/16", "172.17.0.0/16"):
        node.ip(f"route add {prefix} dev {UPLINK}")
    made = Town(daemon, client, outside, stack)
    for name, (namespace, labels) in CAST.items():
        made.hosts[name] = make_host(name)
        await made.attach(name, namespace, labels, [f"{MAPPED}:{PORT}"] if name == "web" else ())
    return made


async def test_deny_all_in_a_namespace(town: Town) -> None:
    """Nothing passes either way; other namespaces do not notice."""
    assert town.passes("web", "db")
    await town.policies(manifests.DENY_ALL, count=1)
    assert not town.passes("web", "db")
    assert not town.passes("job", "db")
    assert not town.passes("db", "job", protocol="udp")
    assert not town.passes("web", INSIDE)
    assert town.passes("job", "spy")
    assert not town.hosts["job"].ping(town.addresses["db"][0])


async def test_deny_all_egress_but_dns(town: Town) -> None:
    """The name server is asked, by both protocols; nobody else is, nor it at another port."""
    await town.policies(manifests.ONLY_DNS, count=1)
    assert town.passes("web", "dns", 53, "udp")
    assert town.passes("web", "dns", 53)
    assert not town.passes("web", "dns", 54, "udp")
    assert not town.passes("web", "job", 53, "udp")
    assert not town.passes("web", INSIDE, 53, "udp")
    assert town.passes("job", "web")


async def test_allow_from_one_app(town: Town) -> None:
    """Of the same namespace, and no other's of that label."""
    await town.policies(manifests.FROM_ONE_APP, count=1)
    assert town.passes("web", "db")
    assert not town.passes("job", "db")
    assert not town.passes("spy", "db")
    assert town.passes("job", "web")


async def test_allow_from_another_namespace(town: Town) -> None:
    """All of the namespaces that have the label, and nobody else, not even the neighbours."""
    await town.policies(NAMESPACE, manifests.FROM_A_NAMESPACE, count=2)
    assert town.passes("job", "db")
    assert not town.passes("web", "db")
    assert not town.passes("spy", "db")


async def test_allow_from_an_app_in_another_namespace(town: Town) -> None:
    """Both must be so: not that app here, nor another app there."""
    await town.policies(manifests.FROM_AN_APP_ELSEWHERE, count=1)
    await town.attach("job", "monitoring", {"app": "job"})
    assert town.passes("spy", "db")
    assert not town.passes("web", "db")
    assert not town.passes("job", "db")


async def test_only_some_ports(town: Town) -> None:
    """Whoever asks; a port without a protocol is TCP's."""
    await town.policies(manifests.ONLY_A_PORT, count=1)
    assert town.passes("web", "db")
    assert town.passes("job", "db")
    assert not town.passes("web", "db", OTHER_PORT)
    assert not town.passes("web", "db", protocol="udp")


async def test_a_range_of_ports(town: Town) -> None:
    """From `port` to `endPort`, both included, of that block alone."""
    await town.policies(manifests.A_RANGE, count=1)
    assert town.passes("web", INSIDE, IN_RANGE)
    assert town.passes("web", INSIDE, LAST)
    assert not town.passes("web", INSIDE, BELOW)
    assert not town.passes("web", INSIDE, LAST + 1)
    assert not town.passes("web", INSIDE, IN_RANGE, "udp")
    assert not town.passes("web", OUTSIDE_OF_RANGE, IN_RANGE)
    assert town.passes("db", OUTSIDE_OF_RANGE, IN_RANGE)


async def test_a_block_with_an_exception_through_a_published_port(town: Town) -> None:
    """Outside clients are known by the address that they have, which the workload sees too; a workload is none of
    them."""
    await town.policies(manifests.FROM_OUTSIDE, count=1)
    with serving(town.hosts["web"], PORT):
        assert ask(town.outside, NODE_V4, MAPPED, bind=CLIENT) == f"web {CLIENT}"
        assert unanswered(town.outside, NODE_V4, MAPPED, "tcp", bind=EXCEPTED)
        assert unanswered(town.outside, NODE_V4, MAPPED, "tcp", bind=INSIDE)
        assert unanswered(town.hosts["job"], NODE_V4, MAPPED)


async def test_allow_all_over_a_deny(town: Town) -> None:
    """Rules add up, so whatever denies is nothing beside one that allows all."""
    await town.policies(manifests.DENY_INGRESS, count=1)
    assert not town.passes("job", "db")
    await town.policies(manifests.DENY_INGRESS, manifests.ALLOW_ALL, count=2)
    assert town.passes("job", "db")
    assert town.passes("job", "db", protocol="udp")
    assert town.hosts["job"].ping(town.addresses["db"][0])


async def test_several_policies_on_one_workload(town: Town) -> None:
    """Whom any of them allows may come, and each only to what its own rule says."""
    await town.policies(NAMESPACE, manifests.DENY_INGRESS, manifests.FROM_ONE_APP, manifests.FROM_A_NAMESPACE, count=4)
    assert town.passes("web", "db")
    assert town.passes("job", "db")
    assert not town.passes("spy", "db")
    assert not town.passes("db", "web")


async def test_what_the_page_shows_holds(town: Town) -> None:
    """The manifests of docs/policy.md, and the workload that it declares: who reaches the database there, and what the
    page's questions are answered with."""
    page = blocks("yaml", "docs/policy.md")
    (policies,) = [it for it in page if "kind: NetworkPolicy" in it]
    (declared,) = [it for it in page if "kind: Attachment" in it]
    assert "namespace: shop\nlabels: {app: db}" in declared
    await town.policies(policies, count=3)
    await town.attach("spy", "metrics", {"app": "scraper"})
    assert town.passes("web", "db")
    assert town.passes("spy", "db")
    assert not town.passes("web", "db", OTHER_PORT)
    assert not town.passes("job", "db")
    assert not town.passes("db", "web"), "the first of them denies the rest"
    assert town.passes("web", "job")
    socket = f"--socket={town.daemon.socket}"
    said = "\n".join(blocks("console", "docs/policy.md"))
    for line in said.splitlines():
        if not line.startswith("$ netplumb policy explain "):
            continue
        words = line.removeprefix("$ netplumb ").replace("web-1", "web").replace("db-1", "db").split()
        answered = town.daemon.command(*words, socket).stdout.splitlines()
        shown = said[said.index(line) :].splitlines()[1:4]
        assert [it.partition(":")[2] for it in answered[1:]] == [it.partition(":")[2] for it in shown[1:]]
        assert answered[0].rpartition(":")[2] == shown[0].rpartition(":")[2]
