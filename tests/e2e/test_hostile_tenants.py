"""A workload with all rights in its own namespace takes nothing from others: what it writes there is not believed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.losses import all_attached, delete, listed, start_without_store, store_of
from tests.e2e.statefiles import declare, document
from tests.e2e.tenants import churning, claim, fill_with_routes
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, texts, v4

PORT = 9300
OUTSIDE_ADDRESSES = ("198.51.100.7", "2001:db8:9::7")
OTHER_MAC = "02:00:5e:00:00:66"
FILE = "made.yaml"


@pytest.fixture
def mallory(make_host: MakeHost) -> Host:
    return make_host("mallory")


def assert_answers(node: Host, asked: Sequence[Host], addresses: Sequence[str], name: str) -> None:
    """By TCP and UDP, on the node and from the workloads, it is this one that answers at these addresses."""
    for host in (node, *asked):
        for address in addresses:
            for protocol in ("tcp", "udp"):
                said = ask(host, address, PORT, protocol)
                assert said is not None, (host.name, address, protocol)
                assert said.split()[0] == name, (host.name, address, protocol)


async def assert_theirs(daemon: Daemon, answers: dict[str, pb.AttachResponse]) -> None:
    """Each has the addresses that it had, and whoever did not change its MAC has that."""
    async with daemon.client() as client:
        await until(lambda: all_attached(client, len(answers)), "all are attached", within_s=20)
        found = await listed(client)
        for name, answer in answers.items():
            assert set(found[name].addresses) == set(texts(answer)), name
            assert found[name].mac in (answer.attachment.mac, OTHER_MAC if name == "mallory" else ""), name
            assert condition(found[name], "PoolRemoved") is None
    for answer in answers.values():
        for address in texts(answer):
            route = daemon.node.route(address)
            assert route is not None
            assert route["dev"] == answer.attachment.node_if_name
    for address in OUTSIDE_ADDRESSES:
        assert daemon.node.route(address) is None


async def test_addresses_cannot_be_stolen_beside_a_lost_store(
    daemon: Daemon, node: Host, web: Host, db: Host, mallory: Host
) -> None:
    """Another's addresses and ones from outside, taken with our marks and with another MAC while the daemon was away,
    stay whose they were; what they answer is the victims' answer, and who comes next gets none of them."""
    answers = {}
    async with daemon.client() as client:
        # Before and behind the victims, in whichever order links are read.
        for host in (mallory, web, db):
            answers[host.name] = await client.attach(attach(host, ports=("8080:80",) if host is web else ()))
    daemon.kill9()
    mallory.ip(f"link set eth0 address {OTHER_MAC}")
    mallory.ip("link set eth0 alias netplumb:eth0:web")
    mallory.ip("link set eth0 group 28272")
    stolen = (*texts(answers["web"]), *texts(answers["db"]), *OUTSIDE_ADDRESSES)
    claim(mallory, stolen)
    await start_without_store(daemon)
    await assert_theirs(daemon, answers)
    with serving(web, PORT), serving(db, PORT), serving(mallory, PORT):
        assert_answers(node, (db, mallory), texts(answers["web"]), "web")
        assert_answers(node, (web, mallory), texts(answers["db"]), "db")
        assert_answers(node, (web, db), texts(answers["mallory"]), "mallory")
    async with daemon.client() as client:
        new = await client.attach(attach(mallory.path, "another", if_name="eth1"))
        assert set(texts(new)).isdisjoint([*stolen, *texts(answers["mallory"])])
        for name in answers:
            await until_in_sync(daemon, name)


async def until_in_sync(daemon: Daemon, name: str) -> None:
    async with daemon.client() as client:

        async def in_sync() -> bool:
            return (await client.check(name)).in_sync

        await until(in_sync, f"{name} is in sync", within_s=10)


async def test_no_workload_keeps_a_daemon_from_its_start(daemon: Daemon, web: Host, mallory: Host) -> None:
    """Fifty thousand routes with our mark, which change all the time, cannot be read as a whole: what they say is not
    known, and everybody is rebuilt."""
    answers = {}
    async with daemon.client() as client:
        for host in (mallory, web):
            answers[host.name] = await client.attach(attach(host, routes=[pb.Route(dst="203.0.113.0/24")]))
    daemon.kill9()
    fill_with_routes(mallory, 50_000)
    delete(store_of(daemon))
    with churning(mallory):
        await daemon.start()
        async with daemon.client() as client:
            found = await listed(client)
            assert [route.dst for route in found["web"].routes] == ["203.0.113.0/24"]
            for name, answer in answers.items():
                assert set(found[name].addresses) == set(texts(answer)), name
        await until_in_sync(daemon, "web")
    assert daemon.node.ping(v4(answers["web"]))


async def test_an_end_that_was_taken_elsewhere_takes_nobody_with_it(
    daemon: Daemon, node: Host, web: Host, mallory: Host, make_host: MakeHost
) -> None:
    """The workload moves its end to a namespace of its own, names it as it likes, and has another's addresses there:
    the others are who they were."""
    elsewhere = make_host("elsewhere")
    answers = {}
    async with daemon.client() as client:
        for host in (mallory, web):
            answers[host.name] = await client.attach(attach(host))
    daemon.kill9()
    mallory.ip("link set eth0 netns elsewhere")
    elsewhere.ip("link set lo alias netplumb:eth0:web")
    elsewhere.ip("link set eth0 up")
    claim(elsewhere, texts(answers["web"]))
    await start_without_store(daemon)
    await assert_theirs(daemon, answers)
    with serving(web, PORT), serving(elsewhere, PORT, "mallory"):
        assert_answers(node, (), texts(answers["web"]), "web")


async def _declared(daemon: Daemon) -> None:
    """Attached, and held by its file, so that it goes with that."""
    async with daemon.client() as client:

        async def held() -> bool:
            return [it.source for it in (await listed(client)).values()] == [f"file/{FILE}"]

        await until(held, "the file holds it", within_s=20)
        await until(lambda: all_attached(client, 1), "it is attached", within_s=20)


async def test_a_workload_cannot_have_anothers_namespace_removed(daemon: Daemon, make_host: MakeHost) -> None:
    """A state file may make a namespace where there is none. One that others made does not become netplumb's by what
    is written inside, and is there when the file is gone."""
    theirs = make_host("theirs")
    theirs.ip("link set lo alias netplumb:eth0:theirs")
    declare(daemon, FILE, document("theirs", "theirs", create=True))
    await _declared(daemon)
    await start_without_store(daemon)
    await _declared(daemon)
    (daemon.state_files / FILE).unlink()
    await until(lambda: "eth0" not in theirs.links(), "the interface goes")
    async with daemon.client() as client:

        async def forgotten() -> bool:
            return not await listed(client)

        await until(forgotten, "the attachment goes")
    assert theirs.exists


@pytest.mark.parametrize("lost", [False, True], ids=["store kept", "store lost"])
async def test_a_workload_cannot_keep_a_made_namespace_from_removal(daemon: Daemon, lost: bool) -> None:
    """One that netplumb made goes with its attachment, whatever is written inside."""
    made = Host("made")
    declare(daemon, FILE, document("made", "made", create=True))
    await _declared(daemon)
    made.ip("link set lo alias something")
    daemon.kill9()
    if lost:
        delete(store_of(daemon))
    await daemon.start()
    await _declared(daemon)
    (daemon.state_files / FILE).unlink()
    await until(lambda: not made.exists, "the namespace goes")
