"""What a node keeps of the workloads of others: what its policies need, of whom it may be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from unittest import mock

import pytest

from netplumb.models.base import IPAddress
from netplumb.models.cluster import HeldPrefix, Peer
from netplumb.models.networkpolicy import NetworkPolicy
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.reconciler.cluster.endpoints import Endpoints
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import EndpointRecord
from netplumb.reconciler.cluster.shelf import Shelf
from netplumb.reconciler.decide.policies.selection import selection

LAYOUT = Layout("/netplumb")
POOL = ip_network("10.1.0.0/16")
PREFIXES = {"a": ip_network("10.1.0.0/24"), "b": ip_network("10.1.1.0/24"), "c": ip_network("10.1.2.0/24")}
PEERS = {name: Peer(name, prefixes=(HeldPrefix(POOL, cidr),)) for name, cidr in PREFIXES.items()}


def policy(app: str) -> PolicySet:
    rule = {"from": [{"podSelector": {"matchLabels": {"app": app}}}]}
    return PolicySet(
        (
            NetworkPolicy.model_validate(
                {
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "NetworkPolicy",
                    "metadata": {"name": app},
                    "spec": {"podSelector": {}, "ingress": [rule]},
                }
            ),
        )
    )


class Known:
    """Endpoints of node a, and what it was told to look at anew."""

    def __init__(self, place: Path) -> None:
        self.shelf = Shelf(place / "it.db", LAYOUT.endpoints.first, as_left=True)
        self.endpoints = Endpoints(LAYOUT, "a", self.shelf, [POOL])
        self.changed: list[IPAddress] = []
        self.endpoints.changed = self._changed
        self.endpoints.seen(PEERS)
        self._revision = 1

    def _changed(self, addresses: Collection[IPAddress]) -> None:
        self.changed += addresses

    def say(self, key: str, *addresses: str, app: str = "web") -> None:
        """The node says so of a workload; without addresses that it is gone."""
        self._revision += 1
        name = key.partition("/")[2]
        record = EndpointRecord(
            workload_id=name,
            if_name="eth0",
            namespace="default",
            labels={"app": app},
            addresses=tuple(map(ip_address, addresses)),
        )
        entry = Entry(record.written(), self._revision, self._revision) if addresses else None
        whole = f"{LAYOUT.endpoints.first}{key}/eth0"
        self.shelf.take({whole: entry}, self._revision)
        self.endpoints.said([whole])

    async def need(self, policies: PolicySet) -> None:
        self.endpoints.need(policies, frozenset(selection(policies).peers))
        await self.looked()

    async def looked(self) -> None:
        running = asyncio.ensure_future(self.endpoints.run())
        await self.endpoints.settled()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    @property
    def kept(self) -> list[str]:
        return sorted(map(str, self.endpoints.kept))

    @property
    def told(self) -> str:
        return " ".join(it.message for it in self.endpoints.conditions)


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Known]:
    it = Known(tmp_path)
    yield it
    it.shelf.close()


async def test_who_needs_nobody_waits_for_nothing(tmp_path: Path) -> None:
    """Before anything was ever heard of the cluster, too."""
    shelf = Shelf(tmp_path / "it.db", LAYOUT.endpoints.first, as_left=False)
    endpoints = Endpoints(LAYOUT, "a", shelf, [POOL])
    endpoints.need(NO_POLICIES, frozenset())
    assert endpoints.is_settled
    await endpoints.settled()
    shelf.close()


async def test_only_what_some_rule_can_mean_is_kept(known: Known) -> None:
    known.say("b/web", "10.1.1.5")
    known.say("b/job", "10.1.1.6", app="job")
    assert known.kept == []
    await known.need(policy("web"))
    assert known.kept == ["b/web/eth0"]
    await known.need(policy("job"))
    assert known.kept == ["b/job/eth0"], "of what is on the shelf another policy needs another part"
    await known.need(PolicySet())
    assert known.kept == []


async def test_whom_coming_policies_mean_is_kept_beside_whom_those_in_force_mean(known: Known) -> None:
    """So that policies and the elements for these workloads can come into force together."""
    known.say("b/web", "10.1.1.5")
    known.say("b/job", "10.1.1.6", app="job")
    await known.need(policy("web"))
    coming = policy("job")
    known.endpoints.foresee(coming, frozenset(selection(coming).peers))
    assert not known.endpoints.is_settled
    await known.looked()
    assert known.kept == ["b/job/eth0", "b/web/eth0"]
    known.say("b/late", "10.1.1.7", app="job")
    assert "b/late/eth0" in known.kept
    await known.need(coming)
    assert known.kept == ["b/job/eth0", "b/late/eth0"]


async def test_a_look_that_ended_in_a_bug_is_made_when_it_is_run_again(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.say("b/web", "10.1.1.5")
    with monkeypatch.context() as patched:
        patched.setattr(known.shelf, "below", mock.Mock(side_effect=RecursionError))
        known.endpoints.need(policy("web"), frozenset(selection(policy("web")).peers))
        with pytest.raises(RecursionError):
            await known.endpoints.run()
    assert not known.endpoints.is_settled
    await asyncio.wait_for(known.looked(), timeout=5)
    assert known.kept == ["b/web/eth0"]


async def test_one_that_changes_is_looked_at_alone(known: Known) -> None:
    await known.need(policy("web"))
    known.say("b/web", "10.1.1.5")
    known.say("b/other", "10.1.1.6")
    known.changed.clear()
    known.say("b/web", "10.1.1.5", app="old")
    assert known.changed == [ip_address("10.1.1.5")]
    assert known.endpoints.at(ip_address("10.1.1.5")) is None
    known.say("b/other")
    assert known.endpoints.at(ip_address("10.1.1.6")) is None
    assert not known.endpoints.addresses


async def test_a_node_is_believed_of_its_own_addresses_alone(known: Known) -> None:
    await known.need(policy("web"))
    known.say("b/web", "10.1.2.5", "10.1.1.5", "192.0.2.1")
    (kept,) = known.endpoints.kept
    assert kept.addresses == (ip_address("10.1.1.5"),)
    assert "b/web/eth0 with 10.1.2.5: in no prefix of that node" in known.told
    known.say("b/web", "10.1.1.5", "192.0.2.1")
    assert known.told == "", "an address of a pool of its own is no harm, and means nothing here"


async def test_who_holds_what_is_heard_late_and_then_counts(known: Known) -> None:
    """Also where no policy needs anybody, so that nothing else is looked through."""
    known.endpoints.seen({**PEERS, "b": Peer("b")})
    await known.looked()
    known.say("b/web", "10.1.1.5")
    assert "b/web/eth0" in known.told
    known.endpoints.seen(PEERS)
    await known.looked()
    assert known.told == ""


async def test_what_it_says_of_itself_comes_from_elsewhere(known: Known) -> None:
    await known.need(policy("web"))
    known.say("a/web", "10.1.0.5")
    assert known.kept == []


async def test_a_prefix_that_is_another_nodes_now_takes_the_endpoints_with_it(known: Known) -> None:
    await known.need(policy("web"))
    known.say("b/web", "10.1.1.5")
    known.endpoints.seen({**PEERS, "b": Peer("b")})
    await known.looked()
    assert known.kept == []
    known.endpoints.seen(PEERS)
    await known.looked()
    assert known.kept == ["b/web/eth0"]


async def test_a_prefix_that_goes_during_a_look_takes_those_along_that_were_looked_at(known: Known) -> None:
    for number in range(10):
        known.say(f"b/web-{number}", f"10.1.1.{number + 5}")

    def changed(_: Collection[IPAddress]) -> None:
        if len(known.kept) == 5:
            known.endpoints.seen({"b": Peer("b")})

    known.endpoints.changed = changed
    await known.need(policy("web"))
    assert known.kept == []


async def test_an_address_is_whose_it_was_said_to_be_last(known: Known) -> None:
    await known.need(policy("web"))
    known.say("b/old", "10.1.1.5")
    known.say("b/new", "10.1.1.5")
    assert str(known.endpoints.at(ip_address("10.1.1.5"))) == "b/new/eth0"
    known.say("b/new")
    assert str(known.endpoints.at(ip_address("10.1.1.5"))) == "b/old/eth0"


async def test_what_was_known_is_known_after_a_restart(known: Known, tmp_path: Path) -> None:
    known.say("b/web", "10.1.1.5")
    known.shelf.close()
    again = Known(tmp_path)
    await again.need(policy("web"))
    assert again.kept == ["b/web/eth0"]
    assert (again.shelf.position, len(again.shelf)) == (2, 1)
    again.shelf.close()


async def test_whoever_is_meant_is_found_whether_needed_or_not(known: Known) -> None:
    known.say("b/web", "10.1.1.5")
    known.say("c/web", "10.1.2.5")
    known.say("c/false", "10.1.1.6")
    assert [str(it) for it in await known.endpoints.found()] == ["b/web/eth0", "c/web/eth0"]
    assert [str(it) for it in await known.endpoints.found(lambda it: it.is_called("c/web"))] == ["c/web/eth0"]


async def test_a_node_that_knows_of_no_other_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Neither a node is known nor a policy in force, as on the first node, or while etcd is away: that is all there
    is to find out."""
    endpoints = Endpoints(LAYOUT, "a", Shelf(tmp_path / "it.db", LAYOUT.endpoints.first, as_left=True), [POOL])
    running = asyncio.ensure_future(endpoints.run())
    try:
        async with asyncio.timeout(5):
            await endpoints.settled()
    finally:
        running.cancel()
    assert endpoints.is_settled
