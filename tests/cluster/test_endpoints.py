"""Policies of one node that select workloads of another: real daemons, a real etcd, TCP and UDP of both families."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.cluster.sites import Site, conditions, site
from tests.e2e.echoes import KINDS, ask, serving
from tests.e2e.hosts import Host
from tests.e2e.nodes import Machine
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4, v6

LONG_S = 30.0
SHORT_S = 5.0
ROUNDS = 5
PORT = 81


def from_web(**more: Any) -> str:
    """Workloads called db are asked by workloads called web, and by nobody else."""
    return json.dumps(
        {
            "kind": "NetworkPolicy",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": "from-web"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}, **more}]}],
            },
        }
    )


@dataclass
class Asked:
    """A server, and who may ask it."""

    server: Host
    at: pb.AttachResponse

    def by(self, client: Host) -> list[str]:
        """By which protocols and families the client is answered."""
        asked = [(kind, address(self.at)) for kind in KINDS for address in (v4, v6)]
        return [f"{kind} {to}" for kind, to in asked if ask(client, to, PORT, kind, within_s=0.5)]

    def answers(self, client: Host) -> bool:
        return len(self.by(client)) == 4

    def answers_none_of(self, client: Host) -> bool:
        return not self.by(client)


@contextmanager
def asked(server: Host, at: pb.AttachResponse) -> Iterator[Asked]:
    with serving(server, PORT):
        yield Asked(server, at)


def say(it: Site, document: str) -> None:
    it.etcd.ctl("put", "/netplumb/shared/documents/policy", document)


async def isolated(machine: Machine, name: str) -> None:
    async def is_isolated() -> bool:
        async with machine.client() as client:
            return bool((await client.get(name)).policies)

    await until(is_isolated, f"{name} is isolated", within_s=LONG_S)


def members(machine: Machine) -> list[str]:
    """The addresses elsewhere that the kernel of the node has among peers."""
    elements = [each for it in sets(machine) for each in it.get("elem", ())]
    return sorted(it["elem"]["val"] if isinstance(it, dict) else it for it in elements)


def sets(machine: Machine) -> list[dict[str, Any]]:
    listed = json.loads(machine.host.run("nft -j list table inet netplumb"))["nftables"]
    return [it["set"] for it in listed if "set" in it and it["set"]["name"].endswith(("_ip4", "_ip6"))]


def both(*answers: pb.AttachResponse) -> list[str]:
    return sorted(address(it) for it in answers for address in (v4, v6))


async def test_who_is_allowed_loses_nothing_when_a_policy_comes(directory: Path) -> None:
    """The policy and its peers on other nodes are in force at the same moment, as each new flow finds."""
    async with site(2, directory) as it:
        one, other = it.machines
        db, db_at = await one.attach("db", labels={"app": "db"})
        web, _ = await other.attach("web", labels={"app": "web"})
        with asked(db, db_at) as server:
            await until(lambda: server.answers(web), "the ways are there", within_s=LONG_S)
            of_web = f"/netplumb/endpoints/{other.name}/"
            await until(lambda: it.etcd.key_names(of_web), "web is known elsewhere", within_s=LONG_S)
            for _ in range(ROUNDS):
                with asking_again_and_again(web, v4(db_at)) as unanswered:
                    say(it, from_web())
                    await isolated(one, "db")
                    await until(lambda: members(one) != [], "web is among the peers", within_s=SHORT_S)
                assert unanswered == []
                it.etcd.ctl("del", "/netplumb/shared/documents/policy")
                await until(lambda: members(one) == [], "the policy is gone", within_s=LONG_S)


@contextmanager
def asking_again_and_again(client: Host, address: str) -> Iterator[list[int]]:
    """Asks by a new flow each time, in a thread; gives the numbers of those that got no answer."""
    unanswered: list[int] = []
    ends = threading.Event()

    def ask_on() -> None:
        number = 0
        while not ends.is_set():
            number += 1
            if ask(client, address, PORT, "udp", within_s=SHORT_S / 10) is None:
                unanswered.append(number)

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield unanswered
    finally:
        ends.set()
        thread.join()


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_policy_selects_workloads_of_another_node(directory: Path, mode: str) -> None:
    """Whoever has the label may ask and nobody else, as labels and workloads change; what is damaged is put right."""
    async with site(2, directory, mode=mode) as it:
        one, other = it.machines
        db, db_at = await one.attach("db", labels={"app": "db"})
        web, web_at = await other.attach("web", labels={"app": "web"})
        job, job_at = await other.attach("job", labels={"app": "job"})
        with asked(db, db_at) as server:
            await until(lambda: server.answers(web) and server.answers(job), "the ways are there", within_s=LONG_S)
            say(it, from_web())
            await isolated(one, "db")
            await until(lambda: members(one) == both(web_at), "web is among the peers", within_s=SHORT_S)
            assert server.answers(web)
            assert server.answers_none_of(job)
            assert members(other) == [], "a node keeps only what its own workloads need"

            async with one.client() as client:
                for name, allowed in (("web", True), (f"{other.name}/web/eth0", True), ("job", False)):
                    answer = await client.explain_policy(pb.ExplainPolicyRequest(source=name, destination="db"))
                    assert answer.allowed is allowed
                    assert f"on {other.name}: egress: no policy selects this end" in answer.reasons[0]
            async with other.client() as client:
                answer = await client.explain_policy(pb.ExplainPolicyRequest(source="job", destination="db"))
                assert answer.reasons[1] == f"on {one.name}: ingress: denied; no rule of default/from-web allows it"
                await client.attach(attach(job, labels={"app": "web"}))
                await client.attach(attach(web, labels={"app": "old"}))
            await until(lambda: members(one) == both(job_at), "it follows the labels", within_s=SHORT_S)
            assert server.answers(job)
            assert server.answers_none_of(web)

            name = next(it["name"] for it in sets(one) if it["name"].endswith("_ip4"))
            one.host.run(f"nft delete element inet netplumb {name} '{{ {v4(job_at)} }}'")
            await until(lambda: members(one) == both(job_at), "the element is back", within_s=SHORT_S)
            one.host.run(f"nft add element inet netplumb {name} '{{ 198.51.100.9 }}'")
            await until(lambda: members(one) == both(job_at), "the stranger is gone", within_s=SHORT_S)
            one.host.run(f"nft flush set inet netplumb {name}")
            await until(lambda: members(one) == both(job_at), "the set is filled again", within_s=SHORT_S)

            async with other.client() as client:
                await client.detach(detach("job"))
            await until(lambda: members(one) == [], "who is gone is nobody's peer", within_s=SHORT_S)
            async with one.client() as client:
                assert not (await client.plan()).changes


async def test_an_address_of_another_workload_is_not_allowed_any_more(directory: Path) -> None:
    async with site(2, directory) as it:
        one, other = it.machines
        db, db_at = await one.attach("db", labels={"app": "db"})
        _, web_at = await other.attach("web", labels={"app": "web"})
        say(it, from_web())
        await isolated(one, "db")
        await until(lambda: members(one) == both(web_at), "web is among the peers", within_s=SHORT_S)
        async with other.client() as client:
            await client.detach(detach("web"))
        stranger, at = await other.attach("stranger", addresses=both(web_at))
        assert both(at) == both(web_at)
        await until(lambda: members(one) == [], "the address is not web's any more", within_s=SHORT_S)
        with asked(db, db_at) as server:
            assert server.answers_none_of(stranger)


async def test_who_went_during_a_restart_is_no_peer_after_it(directory: Path) -> None:
    async with site(2, directory) as it:
        one, other = it.machines
        await one.attach("db", labels={"app": "db"})
        _, web_at = await other.attach("web", labels={"app": "web"})
        say(it, from_web())
        await until(lambda: members(one) == both(web_at), "web is among the peers", within_s=LONG_S)
        one.daemon.kill9()
        async with other.client() as client:
            await client.detach(detach("web"))
        of_web = f"/netplumb/endpoints/{other.name}/"
        await until(lambda: not it.etcd.key_names(of_web), "web is gone", within_s=LONG_S)
        await one.daemon.start()
        await until(lambda: members(one) == [], "web is no peer any more", within_s=LONG_S)
        async with one.client() as client:
            assert not (await client.plan()).changes


async def test_nothing_is_cut_and_nothing_opened_since_etcd_is_away(directory: Path) -> None:
    """A restart included, and a node that is away; what changed meanwhile is learnt afterwards."""
    async with site(2, directory) as it:
        one, other = it.machines
        db, db_at = await one.attach("db", labels={"app": "db"})
        web, web_at = await other.attach("web", labels={"app": "web"})
        job, job_at = await other.attach("job", labels={"app": "job"})
        say(it, from_web())
        await isolated(one, "db")
        await until(lambda: members(one) == both(web_at), "web is among the peers", within_s=SHORT_S)
        with asked(db, db_at) as server:
            it.etcd.kill()

            async def away() -> bool:
                return "EtcdAway" in await conditions(one)

            await until(away, "etcd is away", within_s=LONG_S)
            await one.daemon.restart()
            one.daemon.kill9()
            assert server.answers(web)
            await one.daemon.start()
            assert members(one) == both(web_at)
            assert server.answers(web)
            assert server.answers_none_of(job)
            async with other.client() as client:
                await client.attach(attach(job, labels={"app": "web"}))
            it.etcd.start()
            await until(lambda: members(one) == both(web_at, job_at), "it catches up", within_s=LONG_S)
            other.daemon.terminate()
            gone = f"/netplumb/shared/presence/{other.name}"
            await until(lambda: gone not in it.etcd.key_names(), "the other is away", within_s=LONG_S)
            assert members(one) == both(web_at, job_at), "its workloads may well live"
            assert server.answers(web)
            it.etcd.ctl("del", "--prefix", f"/netplumb/endpoints/{other.name}/")
            await until(lambda: members(one) == [], "they are ended by who removes the node", within_s=SHORT_S)


async def test_a_node_cannot_give_itself_the_address_of_another(directory: Path) -> None:
    """What it says counts within its own prefixes, and is told where it says more."""
    async with site(3, directory) as it:
        one, other, third = it.machines
        await one.attach("db", labels={"app": "db"})
        _, job_at = await third.attach("job", labels={"app": "job"})
        say(it, from_web())
        await isolated(one, "db")
        record = {"workload_id": "web", "if_name": "eth0", "namespace": "default", "labels": {"app": "web"}}
        stolen = json.dumps({**record, "addresses": both(job_at)})
        it.etcd.ctl("put", f"/netplumb/endpoints/{other.name}/false/eth0", stolen)

        async def told() -> bool:
            return v4(job_at) in (await conditions(one)).get("EndpointOfAnother", "")

        await until(told, "it is told", within_s=SHORT_S)
        assert members(one) == []


async def test_an_etcd_that_went_back_cuts_nobody(directory: Path) -> None:
    """Nothing changes before it is accepted, and after that no sooner than each node has said its endpoints again."""
    async with site(2, directory) as it:
        one, other = it.machines
        await one.attach("db", labels={"app": "db"})
        _, old_at = await other.attach("old", labels={"app": "web"})
        say(it, from_web())
        await isolated(one, "db")
        await until(lambda: members(one) == both(old_at), "old is among the peers", within_s=SHORT_S)
        snapshot = it.etcd.save()
        _, web_at = await other.attach("web", labels={"app": "web"})
        async with other.client() as client:
            await client.detach(detach("old"))
        await until(lambda: members(one) == both(web_at), "web is, and old no more", within_s=SHORT_S)
        it.etcd.restore(snapshot)

        async def went_back() -> bool:
            assert members(one) == both(web_at)
            return "EtcdWentBack" in await conditions(one) and "EtcdWentBack" in await conditions(other)

        await until(went_back, "both say so", within_s=LONG_S)
        it.etcd.ctl("put", "/netplumb/shared/accepted/by-a-test", "{}")

        async def accepted() -> bool:
            assert members(one) == both(web_at)
            told = {*await conditions(one), *await conditions(other)}
            return not told & {"EtcdWentBack", "EtcdAway"}

        await until(accepted, "both follow it again", within_s=60)
        assert members(one) == both(web_at)
        told = [key for key in it.etcd.key_names("/netplumb/endpoints/") if f"/{other.name}/" in key]
        assert told == [f"/netplumb/endpoints/{other.name}/web/eth0"]
