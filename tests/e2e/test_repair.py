"""What a repair does beside it: it counts, lets foreign things be, and takes traffic back. The kinds of damage one by
one are in test_damage_repairs.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.hosts import Host
from tests.e2e.waiting import comes_true, until
from tests.e2e.wishes import attach, v4, v6

KEY = AttachmentKey("web", "eth0")
NAME = node_if_name(KEY)
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
REPAIRED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Scene:
    """An attached workload, to be damaged."""

    node: Host
    web: Host
    v4: str
    v6: str

    @property
    def words(self) -> dict[str, str]:
        return {"v4": self.v4, "v6": self.v6, "np": NAME}

    def look(self) -> dict[str, object]:
        """All that may be damaged, without what a remade object may have anew: its index, its place in a list."""
        both = (self.node, self.web)
        return {
            "links": [_link_look(self.node, NAME), _link_look(self.web, "eth0"), "UP" in self.web.link("lo")["flags"]],
            "addresses": [self.node.addresses("lo"), self.web.addresses("eth0")],
            # What the kernel derives is not listed: a link-local address that was flushed is not ours to restore.
            "routes": sorted(
                str(_stable(route)) for host in both for route in host.routes() if route["protocol"] != "kernel"
            ),
            "neighbours": sorted(str(entry) for host in both for entry in host.ip("neighbour show nud permanent")),
            "proxies": self.node.proxy_neighbours(),
            "table": sorted(self.node.run("nft -s list table inet netplumb").splitlines()),
            "forwarding": [self.node.sysctl(name) for name in FORWARDING],
        }


def _link_look(host: Host, name: str) -> list[object]:
    link = host.link(name)
    fields = [link.get(field) for field in ("address", "mtu", "group", "ifalias", "inet6_addr_gen_mode")]
    return [*fields, "UP" in link["flags"]]


def _stable(route: dict[str, object]) -> list[tuple[str, object]]:
    return sorted((key, value) for key, value in route.items() if key not in ("flags", "pref"))


@pytest.fixture
async def scene(client: AsyncClient, node: Host, web: Host) -> Scene:
    answer = await client.attach(attach(web, labels={"app": "web"}))
    return Scene(node, web, v4(answer), v6(answer))


async def _is_repaired(client: AsyncClient, scene: Scene, damage: Callable[[], object]) -> None:
    """Damages, and waits until the daemon, the kernel's own tools and traffic say that all is as before."""
    before = scene.look()
    damage()

    async def whole() -> bool:
        try:
            return scene.look() == before and (await client.check("web")).in_sync
        except (AssertionError, KeyError):
            return False  # something that is looked at is not there

    if not await comes_true(whole, within_s=REPAIRED_WITHIN_S):
        assert [change.words for change in (await client.check("web")).differences] == []
        for name, after in scene.look().items():
            assert after == before[name], name
        raise AssertionError(f"repaired, but not within {REPAIRED_WITHIN_S} s")
    assert scene.node.ping(scene.v4)
    assert scene.node.ping(scene.v6)
    assert scene.web.ping(OUTSIDE_V4)
    assert scene.web.ping(OUTSIDE_V6)


FLUSHES = {
    "host routes": "-4 route flush proto 78",
    "neighbours": "neighbour flush dev {np} nud permanent",
    "node's addresses": "address flush dev lo to 10.0.0.0/8",
}


@pytest.mark.parametrize("command", FLUSHES.values(), ids=FLUSHES)
async def test_a_flush_on_the_node_is_repaired(client: AsyncClient, scene: Scene, command: str) -> None:
    """Whatever `ip` takes from the node at one go comes back."""
    await _is_repaired(client, scene, lambda: scene.node.ip(command.format(**scene.words)))


SHADOWS = {
    "host route": ("node", "-4 route replace {v4} dev up0 proto static"),
    "IPv6 host route": ("node", "-6 route replace {v6} dev up0 proto static"),
    "default route": ("web", "-4 route replace default dev lo proto static"),
}


@pytest.mark.parametrize(("where", "command"), SHADOWS.values(), ids=SHADOWS)
async def test_a_route_replaced_by_a_foreign_one_is_put_before_it(
    client: AsyncClient, scene: Scene, where: str, command: str
) -> None:
    """A foreign route in the place of ours stays, since it is not ours, but traffic takes ours again."""
    host = scene.node if where == "node" else scene.web
    host.ip(command.format(**scene.words))

    async def whole() -> bool:
        return (await client.check("web")).in_sync and scene.node.ping(scene.v4) and scene.node.ping(scene.v6)

    await until(whole, "traffic takes our route again", within_s=REPAIRED_WITHIN_S)
    assert scene.web.ping(OUTSIDE_V4)
    assert scene.web.ping(OUTSIDE_V6)
    assert any(route["protocol"] == "static" for route in host.routes())


async def test_an_interface_moved_to_another_namespace_is_made_anew(
    client: AsyncClient, scene: Scene, db: Host
) -> None:
    """A workload whose interface was taken elsewhere gets one again."""
    await _is_repaired(client, scene, lambda: scene.web.ip("link set eth0 netns db"))


async def test_the_nodes_end_moved_to_another_namespace_is_made_anew(
    client: AsyncClient, scene: Scene, db: Host
) -> None:
    """What is left of the pair in the workload is known by its MAC and the mark of its address, and goes."""
    await _is_repaired(client, scene, lambda: scene.node.ip(f"link set {NAME} netns db"))
    assert NAME not in db.links()
    for address in (OUTSIDE_V4, OUTSIDE_V6):
        assert scene.web.ping(address)


async def test_repairs_are_counted(client: AsyncClient, scene: Scene) -> None:
    """Status and the attachment tell how many objects were repaired, by kind."""
    await _is_repaired(client, scene, lambda: scene.node.ip(f"-4 route delete {scene.v4}"))
    assert (await client.status()).counters.repairs["route"] >= 1
    assert (await client.get("web")).repairs >= 1


@pytest.mark.open_table
async def test_what_is_not_ours_is_left_alone(client: AsyncClient, scene: Scene) -> None:
    """Foreign links, addresses, routes, neighbours and tables, on the node and in the workload, outlive repairs."""
    node, web = scene.node, scene.web
    node.ip("link add np-foreign type veth peer name other")
    node.ip("address add 198.51.100.1/24 dev np-foreign")
    node.ip("link set np-foreign up")
    node.ip("address add 198.51.100.77/32 dev lo")
    node.ip("route add 203.0.113.0/24 dev up0 proto static")
    node.run("nft add table inet theirs")
    node.run("nft add chain inet theirs mine")
    web.ip("address add 198.51.100.2/24 dev eth0")
    web.ip("address add fd00:f::2/64 dev eth0 nodad")
    web.ip("route add 203.0.113.0/24 via 169.254.77.1 dev eth0")
    web.ip("neighbour add 198.51.100.3 lladdr 02:00:00:00:00:04 dev eth0 nud permanent")
    await _is_repaired(client, scene, lambda: node.ip(f"-4 route delete {scene.v4}"))
    await _is_repaired(client, scene, lambda: web.ip("-4 route delete default"))
    await _is_repaired(client, scene, lambda: node.ip("address delete 169.254.77.1/32 dev lo"))
    await _is_repaired(client, scene, lambda: node.run("nft delete table inet netplumb"))
    assert node.addresses("np-foreign") == {"198.51.100.1/24"}
    assert "198.51.100.77/32" in node.addresses("lo")
    assert node.route("203.0.113.0/24") is not None
    assert "table inet theirs" in node.ruleset()
    assert {"198.51.100.2/24", "fd00:f::2/64"} <= web.addresses("eth0")
    assert web.route("203.0.113.0/24") is not None
    assert "198.51.100.3" in web.neighbours("eth0")


@pytest.mark.open_table
@pytest.mark.parametrize("owner", ["x" * 16, "é" * 60, "a link/that is none"])
async def test_an_element_of_what_no_link_can_be_called_goes(client: AsyncClient, scene: Scene, owner: str) -> None:
    """The kernel refuses to look for such a link, which must not hold up the pass over the node."""
    element = f'node_open {{ npstray comment "{owner}" }}'
    await _is_repaired(client, scene, lambda: scene.node.run(f"nft 'add element inet netplumb {element}'"))
