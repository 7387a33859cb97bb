"""What can happen to an attachment from outside: the same damage as `ip` does it, and as the fake has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from netplumb.models.kernel import Address, LinkUp, Neighbour, Route, Scope
from netplumb.models.naming import node_if_name
from tests.contract.fake import Bound, KernelRefusal, Side
from tests.contract.worlds import ADDRESSES, FakeWorld, LinuxWorld, World, attached, fake_world, wish

OTHER_MAC = "02:00:00:00:00:77"
V4, V6 = ADDRESSES
FIRST_HOP = "169.254.77.1"


@dataclass(frozen=True, slots=True)
class Damage:
    """`commands` are `ip` lines and sysctl settings; `{link}` is the interface on that side."""

    name: str
    scope: Scope
    commands: tuple[str, ...]
    fake: Callable[[FakeWorld, Side, str], None]

    def __str__(self) -> str:
        return f"{self.scope.name.lower()}: {self.name}"


def inflict(world: World, damage: Damage) -> None:
    """Damages the attachment of `worlds.wish`. On the fake a KeyError says that there is nothing to damage."""
    link = node_if_name(wish(world).key) if damage.scope is Scope.NODE else "eth0"
    if isinstance(world, FakeWorld):
        side = world.side(damage.scope, "w")
        if link not in side.links and any("{link}" in command for command in damage.commands):
            raise KeyError(link)
        damage.fake(world, side, link)
        return
    assert isinstance(world, LinuxWorld)
    host = world.host(damage.scope, "w")
    for command in damage.commands:
        if command.startswith("sysctl "):
            _, switch, value = command.format(link=link).split()
            host.set_sysctl(switch, value)
        else:
            host.ip(command.format(link=link))


def _removed(world: FakeWorld, side: Side, link: str) -> None:
    world.kernel.remove_link(side, side.links[link].index)


def _down(world: FakeWorld, side: Side, link: str) -> None:
    world.kernel.set_down(side, link)


def _off_and_on(world: FakeWorld, side: Side, link: str) -> None:
    world.kernel.set_down(side, link)
    side.add(LinkUp(side.scope, link))


def _lo_down(_: FakeWorld, side: Side, link: str) -> None:
    side.set_down("lo")


def _renamed(world: FakeWorld, side: Side, link: str) -> None:
    world.kernel.set_down(side, link)
    side.rename(link, "renamed0")


def _renamed_and_up(world: FakeWorld, side: Side, link: str) -> None:
    _renamed(world, side, link)
    side.add(LinkUp(side.scope, "renamed0"))


def _changed(**fields: Any) -> Callable[[FakeWorld, Side, str], None]:
    def change(_: FakeWorld, side: Side, link: str) -> None:
        side.change(link, **fields)

    return change


def _without_arp(world: FakeWorld, side: Side, link: str) -> None:
    """The kernel forgets the neighbours of both families then, but those that it answers for."""
    side.change(link, arp=False)
    _without(lambda it: isinstance(it, Neighbour) and not it.proxy)(world, side, link)


def _flushed(which: Callable[[Bound], bool]) -> Callable[[FakeWorld, Side, str], None]:
    def take(_: FakeWorld, side: Side, link: str) -> None:
        side.drop(thing for thing in side.on(link) if which(thing) and not isinstance(thing, Address))
        for address in [thing for thing in side.on(link) if which(thing) and isinstance(thing, Address)]:
            side.delete_address(address)

    return take


def _without(which: Callable[[Bound], bool]) -> Callable[[FakeWorld, Side, str], None]:
    """As a flush, but there must be something."""

    def take(world: FakeWorld, side: Side, link: str) -> None:
        if not any(which(thing) for thing in side.on(link)):
            raise KeyError(link)
        _flushed(which)(world, side, link)

    return take


def _is(kind: type[Bound], size: int, **fields: object) -> Callable[[Bound], bool]:
    def matches(thing: Bound) -> bool:
        if not isinstance(thing, kind) or isinstance(thing, LinkUp):
            return False
        ip = thing.dst if isinstance(thing, Route) else thing.ip
        return len(ip) == size and all(getattr(thing, name) == value for name, value in fields.items())

    return matches


def _other_neighbour(_: FakeWorld, side: Side, link: str) -> None:
    """The kernel keeps the mark of a neighbour that is replaced; a fresh one has none."""
    neighbour = Neighbour(side.scope, link, V4.packed, _MAC, protocol=0)
    before = side.bound.get(neighbour.key)
    protocol = before.protocol if isinstance(before, Neighbour) else 0
    side.add(replace(neighbour, protocol=protocol))


def _unmarked(world: FakeWorld, side: Side, link: str) -> None:
    _without(_is(Address, 4))(world, side, link)
    side.add(Address(side.scope, link, V4.packed, 32, protocol=0))


NODE, WORKLOAD = Scope.NODE, Scope.WORKLOAD
_MAC = bytes.fromhex(OTHER_MAC.replace(":", ""))

DAMAGES = (
    Damage("link removed", NODE, ("link delete {link}",), _removed),
    Damage("link down", NODE, ("link set {link} down",), _down),
    Damage("mtu changed", NODE, ("link set {link} mtu 1400",), _changed(mtu=1400)),
    Damage("mac changed", NODE, (f"link set {{link}} address {OTHER_MAC}",), _changed(mac=_MAC)),
    Damage("group changed", NODE, ("link set {link} group 7",), _changed(group=7)),
    Damage(
        "under a bridge",
        NODE,
        ("link add stray index 901 type bridge", "link set {link} master stray"),
        _changed(master=901, master_name="stray"),
    ),
    Damage("alias changed", NODE, ("link set {link} alias mine",), _changed(alias="mine")),
    Damage("addr_gen_mode changed", NODE, ("link set {link} addrgenmode eui64",), _changed(addr_gen_mode=0)),
    Damage("proxy_ndp off", NODE, ("sysctl net/ipv6/conf/{link}/proxy_ndp 0",), _changed(proxy_ndp=False)),
    Damage("arp off", NODE, ("link set {link} arp off",), _without_arp),
    Damage("arp_filter off", NODE, ("sysctl net/ipv4/conf/{link}/arp_filter 0",), _changed(arp_filter=False)),
    Damage("IPv4 forwarding off", NODE, ("sysctl net/ipv4/conf/{link}/forwarding 0",), _changed(forwarding_v4=False)),
    Damage("IPv6 forwarding off", NODE, ("sysctl net/ipv6/conf/{link}/forwarding 0",), _changed(forwarding_v6=False)),
    Damage("IPv4 route gone", NODE, (f"-4 route delete {V4}/32 dev {{link}}",), _without(_is(Route, 4))),
    Damage("IPv6 route gone", NODE, (f"-6 route delete {V6}/128 dev {{link}}",), _without(_is(Route, 16))),
    Damage("IPv4 neighbour gone", NODE, (f"neighbour delete {V4} dev {{link}}",), _without(_is(Neighbour, 4))),
    Damage(
        "IPv6 neighbour gone",
        NODE,
        (f"neighbour delete {V6} dev {{link}}",),
        _without(_is(Neighbour, 16, proxy=False)),
    ),
    Damage(
        "neighbour with another mac",
        NODE,
        (f"neighbour replace {V4} lladdr {OTHER_MAC} dev {{link}} nud permanent",),
        _other_neighbour,
    ),
    Damage(
        "proxy neighbour gone",
        NODE,
        ("neighbour delete proxy fe80::1 dev {link}",),
        _without(_is(Neighbour, 16, proxy=True)),
    ),
    Damage("link removed", WORKLOAD, ("link delete {link}",), _removed),
    Damage("link down", WORKLOAD, ("link set {link} down",), _down),
    Damage("link renamed", WORKLOAD, ("link set {link} down", "link set {link} name renamed0"), _renamed),
    Damage("loopback down", WORKLOAD, ("link set lo down",), _lo_down),
    Damage("mtu changed", WORKLOAD, ("link set {link} mtu 1400",), _changed(mtu=1400)),
    Damage("mac changed", WORKLOAD, (f"link set {{link}} address {OTHER_MAC}",), _changed(mac=_MAC)),
    Damage("IPv4 address gone", WORKLOAD, (f"address delete {V4}/32 dev {{link}}",), _without(_is(Address, 4))),
    Damage("IPv6 address gone", WORKLOAD, (f"address delete {V6}/128 dev {{link}}",), _without(_is(Address, 16))),
    Damage(
        "addresses flushed",
        WORKLOAD,
        ("address flush dev {link} scope global",),
        _flushed(lambda thing: isinstance(thing, Address)),
    ),
    Damage(
        "IPv4 address without our mark",
        WORKLOAD,
        (f"address delete {V4}/32 dev {{link}}", f"address add {V4}/32 dev {{link}}"),
        _unmarked,
    ),
    Damage("IPv4 default route gone", WORKLOAD, ("-4 route delete default",), _without(_is(Route, 4, prefix_len=0))),
    Damage("IPv6 default route gone", WORKLOAD, ("-6 route delete default",), _without(_is(Route, 16, prefix_len=0))),
    Damage(
        "first hop's route gone",
        WORKLOAD,
        (f"-4 route delete {FIRST_HOP}/32 dev {{link}}",),
        _without(_is(Route, 4, prefix_len=32)),
    ),
    Damage("routes flushed", WORKLOAD, ("-4 route flush dev {link}",), _flushed(_is(Route, 4))),
    Damage(
        "first hop's neighbour gone",
        WORKLOAD,
        (f"neighbour delete {FIRST_HOP} dev {{link}}",),
        _without(_is(Neighbour, 4)),
    ),
    Damage(
        "all switched off and on",
        WORKLOAD,
        ("link set {link} down", "link set {link} up"),
        _off_and_on,
    ),
)


NODE_LINK_RENAMED = Damage(
    "link renamed",
    NODE,
    ("link set {link} down", "link set {link} name renamed0", "link set renamed0 up"),
    _renamed_and_up,
)
"""Apart from the others, since it is only found by one who knows where the link was."""


def named(name: str, scope: Scope = NODE) -> Damage:
    return next(damage for damage in (*DAMAGES, NODE_LINK_RENAMED) if (damage.name, damage.scope) == (name, scope))


def is_possible(damages: Sequence[Damage]) -> bool:
    """Whether the damages can be done one after the other, as far as can be told beforehand: what one took away cannot
    be damaged again, and only one of the marks by which a link is known as ours is taken from it."""
    with fake_world() as world:
        attached(world)
        try:
            for damage in damages:
                inflict(world, damage)
        except (KeyError, KernelRefusal):
            return False
    return not {damage.name for damage in damages} >= {"group changed", "alias changed"}
