"""From marks to records: what each mark tells, which one is believed, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import ROUTES_MAX, Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.base import IPAddress
from netplumb.models.kernel import (
    FIRST_HOP_MAC,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    LINK_GROUP,
    Address,
    KernelObject,
    Link,
    Neighbour,
    Route,
    Scope,
    scope_of,
)
from netplumb.models.naming import alias_of, node_if_name, workload_mac
from netplumb.models.network import Families, Node, Pool
from netplumb.models.nft import NftElement, hairpin_set
from netplumb.reconciler.decide.rebuild import NOT_KNOWN, SHOWN, UNKNOWN_NETNS, Found, Rebuilt, condition, rebuild
from netplumb.reconciler.decide.render import render_attachment

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
POOLS = [Pool.model_validate({"cidr": cidr}) for cidr in ("10.1.0.0/24", "fd01::/64")]
V4, V6 = ip_address("10.1.0.2"), ip_address("fd01::2")
NODE_V4, NODE_V6 = ip_address("10.1.0.1"), ip_address("fd01::1")
MTU = 1500
COOKIE = 4711


def record(key: AttachmentKey = WEB, *, path: str = "/run/netns/web", mtu: int = 0) -> Attachment:
    """An attachment as it was before its store was lost."""
    spec = AttachmentSpec(workload_id=key.workload_id, if_name=key.if_name, netns=NetnsRef(path=path), mtu=mtu)
    return Attachment(
        spec=spec,
        source="rpc",
        addresses=(V4, V6),
        mac=workload_mac(key, (V4, V6)),
        node_addresses=(NODE_V4, NODE_V6),
        netns_cookie=COOKIE,
        default_route_by=key.if_name,
    )


def found(before: Attachment, *, without: Sequence[type] = (), alias: str | None = None, mark: str = "") -> Found:
    """What is read of it when all is in the kernel, less some kinds of objects."""
    objects = list(render_attachment(before, Node(node_addresses=before.node_addresses), Families()))
    link = next(it for it in objects if isinstance(it, Link) and it.scope is Scope.NODE)
    if alias is not None:
        link = Link(Scope.NODE, link.name, mtu=link.mtu, group=LINK_GROUP, alias=alias)
    on_node = [it for it in objects if scope_of(it) is Scope.NODE and not isinstance(it, (*without, Link))]
    told = [it for it in objects if scope_of(it) is Scope.WORKLOAD]
    return Found(link, on_node, before.spec.netns.where, before.netns_cookie, mark, told)


def one(it: Found, pools: Sequence[Pool] = POOLS) -> Attachment:
    (attachment,) = rebuild([it], pools, MTU).attachments.values()
    return attachment


def nothing_but(it: Found, *objects: KernelObject) -> Found:
    on_node = [thing for thing in objects if scope_of(thing) is Scope.NODE]
    told = [thing for thing in objects if scope_of(thing) is Scope.WORKLOAD]
    return Found(it.link, on_node, it.path, it.cookie, it.mark, told)


def test_what_is_in_the_kernel_is_all_back() -> None:
    """Everything but whose it was and what no mark carries."""
    before = record()
    after = one(found(before))
    assert after == before.model_copy(update={"source": "rebuilt"})
    assert after.is_rebuilt
    assert not after.is_declared


def test_what_is_rebuilt_asks_for_what_is_there() -> None:
    """Rendered again it is, object by object, what it was read from: a pass has nothing to do."""
    before = record(mtu=1400)
    node = Node(node_addresses=before.node_addresses)
    assert list(render_attachment(one(found(before)), node, Families())) == list(
        render_attachment(before, node, Families())
    )


@pytest.mark.parametrize("without", [[Route], [Neighbour]])
def test_any_one_kind_of_mark_tells_the_addresses(without: list[type]) -> None:
    """Routes and neighbours say the same; one of them is enough."""
    after = one(found(record(), without=without))
    assert after.addresses == (V4, V6)
    assert after.node_addresses == (NODE_V4, NODE_V6)
    assert after.mac == record().mac


def test_a_link_without_addresses_is_an_attachment_without_addresses() -> None:
    """Half-built, or all of it damaged: it is held until its client says what it is."""
    after = one(nothing_but(found(record())))
    assert (after.addresses, after.node_addresses, after.mac) == ((), (), workload_mac(WEB))


def test_foreign_objects_and_the_first_hop_are_not_the_workloads() -> None:
    """What does not carry our mark, what is no host's, and the node's own side of the link give no address."""
    name = node_if_name(WEB)
    it = nothing_but(
        found(record()),
        Route(Scope.NODE, ip_address("192.0.2.1").packed, 32, name, protocol=4),
        Route(Scope.NODE, ip_address("198.51.100.0").packed, 24, name),
        Neighbour(Scope.NODE, name, ip_address("192.0.2.2").packed, b"\2\0\0\0\0\1", protocol=0),
        Neighbour(Scope.NODE, name, FIRST_HOP_V6, proxy=True),
        Neighbour(Scope.WORKLOAD, "eth0", FIRST_HOP_V4, FIRST_HOP_MAC),
        Route(Scope.WORKLOAD, FIRST_HOP_V4, 32, "eth0"),
        Address(Scope.WORKLOAD, "eth0", ip_address("192.0.2.3").packed, 32, protocol=0),
        Address(Scope.WORKLOAD, "eth0", ip_address("fe80::5").packed, 128),
        Neighbour(Scope.NODE, name, V4.packed, b"\2\0\0\0\0\7"),
    )
    after = one(it)
    assert after.addresses == (V4,)
    assert after.mac == "02:00:00:00:00:07"


def test_of_several_addresses_the_preferred_one_is_first() -> None:
    """The order decides what the workload's routes prefer, so it is read back from them."""
    first, second = ip_address("10.1.0.9"), ip_address("10.1.0.5")
    name = node_if_name(WEB)
    it = nothing_but(
        found(record()),
        Route(Scope.NODE, V6.packed, 128, name),
        Route(Scope.NODE, second.packed, 32, name),
        Route(Scope.NODE, first.packed, 32, name),
        Route(Scope.WORKLOAD, bytes(4), 0, "eth0", FIRST_HOP_V4, first.packed),
    )
    assert one(it).addresses == (first, second, V6)


def test_an_mtu_that_is_not_the_nodes_was_asked_for() -> None:
    assert one(found(record(mtu=1400))).spec.mtu == 1400
    assert one(found(record())).spec.mtu == 0


def test_an_address_that_no_pool_holds_was_stated() -> None:
    """So that it does not pass for one whose pool was taken away."""
    after = one(found(record()), pools=POOLS[1:])
    assert after.spec.addresses == (V4,)
    assert after.addresses == (V4, V6)


def test_a_namespace_without_a_path_is_nowhere() -> None:
    """A path that is certain to be nothing, and no cookie: only the node's side is kept."""
    before = found(record())
    after = one(Found(before.link, before.objects))
    assert (after.spec.netns.where, after.netns_cookie) == (UNKNOWN_NETNS, 0)
    assert after.addresses == (V4, V6)


def test_a_path_that_cannot_be_said_is_none() -> None:
    before = found(record())
    assert one(Found(before.link, before.objects, "/mnt/a\nb", COOKIE)).spec.netns.where == UNKNOWN_NETNS


def test_a_namespace_that_netplumb_made_goes_with_its_attachment() -> None:
    """Its mark tells; another's mark on it, or a place elsewhere, does not make it ours to remove."""
    after = one(found(record(), mark=alias_of(WEB)))
    assert (after.netns_created, after.spec.netns) == (True, NetnsRef(name="web"))
    assert not one(found(record(), mark=alias_of(DB))).netns_created
    assert not one(found(record(path="/proc/5/ns/net"), mark=alias_of(WEB))).netns_created


@pytest.mark.parametrize("alias", ["", "scribble", "netplumb:", "netplumb:eth0:", "\udcff\udcfe"])
def test_a_damaged_alias_with_no_other_witness_is_left_alone(alias: str) -> None:
    """The link is named, and its addresses are held."""
    rebuilt = rebuild([found(record(path="/run/netns/sandbox"), alias=alias)], POOLS, MTU)
    assert rebuilt.attachments == {}
    assert rebuilt.unclaimed == {node_if_name(WEB): (V4, V6)}


def test_a_key_that_could_not_have_been_asked_for_is_left_alone() -> None:
    """Whoever wrote such an alias was not netplumb; it reaches neither the store nor a log as a key."""
    for alias in ("netplumb:eth0:a\nb", "netplumb:e%d:web", f"netplumb:eth0:{'x' * 201}", "netplumb:lo:web"):
        rebuilt = rebuild([found(record(path="/run/netns/sandbox"), alias=alias)], POOLS, MTU)
        assert (rebuilt.attachments, len(rebuilt.unclaimed)) == ({}, 1)


def test_the_links_name_proves_a_guess() -> None:
    """The namespace's name, or the mark on a namespace that netplumb made, is the key if the digest says so."""
    assert one(found(record(), alias="scribble")).key == WEB
    marked = found(record(path="/run/netns/other"), alias="scribble", mark=alias_of(WEB))
    assert one(marked).key == WEB


def test_of_two_links_with_one_mark_the_rightly_named_is_the_one() -> None:
    """Whichever is read first; the other is left alone, with the address that is its alone."""
    right = found(record())
    other = ip_address("10.1.0.8")
    copy = Found(
        Link(Scope.NODE, "npaaaaaaaaaaaa", mtu=MTU, group=LINK_GROUP, alias=alias_of(WEB)),
        [Route(Scope.NODE, it.packed, 32, "npaaaaaaaaaaaa") for it in (other, V4)],
    )
    for order in ([right, copy], [copy, right]):
        rebuilt = rebuild(order, POOLS, MTU)
        assert rebuilt.attachments[WEB].addresses == (V4, V6)
        assert rebuilt.unclaimed == {"npaaaaaaaaaaaa": (other,)}


def test_an_address_on_two_links_is_that_of_the_one_that_is_known() -> None:
    before = found(record())
    stray = Found(Link(Scope.NODE, "npaaaaaaaaaaaa", mtu=MTU, group=LINK_GROUP, alias="scribble"), before.objects)
    for order in ([before, stray], [stray, before]):
        rebuilt = rebuild(order, POOLS, MTU)
        assert rebuilt.attachments[WEB].addresses == (V4, V6)
        assert rebuilt.unclaimed == {"npaaaaaaaaaaaa": ()}


def test_a_renamed_link_is_known_by_its_alias() -> None:
    it = found(record())
    renamed = Link(Scope.NODE, "np-elsewhere", mtu=MTU, group=LINK_GROUP, alias=alias_of(WEB))
    assert one(Found(renamed, it.objects, it.path, it.cookie)).key == WEB


def test_allocation_goes_on_behind_what_is_held() -> None:
    """Also behind what unclaimed links hold; a pool in which nothing is held begins at its start."""
    rebuilt = rebuild([found(record())], POOLS, MTU)
    rebuilt.unclaimed["npx"] = (ip_address("10.1.0.200"), ip_address("192.0.2.1"))
    assert dict(rebuilt.cursors(POOLS)) == {"10.1.0.0/24": int(ip_address("10.1.0.201")), "fd01::/64": int(V6) + 1}
    assert dict(Rebuilt().cursors(POOLS)) == {}


ADDRESSES = st.ip_addresses().filter(
    lambda a: not (a.is_link_local or a.is_loopback or a.is_multicast or a.is_unspecified)
)
OBJECTS = st.one_of(
    st.builds(lambda ip: Route(Scope.NODE, ip.packed, ip.max_prefixlen, "np"), ADDRESSES),
    st.builds(lambda ip: Neighbour(Scope.NODE, "np", ip.packed, b"\2\0\0\0\0\1"), ADDRESSES),
    st.builds(lambda ip: NftElement(hairpin_set(ip.version).name, (str(ip), str(ip)), owner="np"), ADDRESSES),
)
TOLD = st.one_of(
    st.builds(lambda ip: Address(Scope.WORKLOAD, "eth0", ip.packed, ip.max_prefixlen), ADDRESSES),
    st.builds(lambda ip: Neighbour(Scope.WORKLOAD, "eth0", ip.packed, b"\2\0\0\0\0\1"), ADDRESSES),
    st.builds(
        lambda ip: Route(Scope.WORKLOAD, ip.packed, ip.max_prefixlen, "eth0", FIRST_HOP_V4, ip.packed), ADDRESSES
    ),
    st.builds(lambda name: Link(Scope.WORKLOAD, name, mac=b"\2\0\0\0\0\1"), st.text(max_size=15)),
)


@given(
    st.lists(
        st.builds(
            Found,
            st.builds(
                lambda name, alias: Link(Scope.NODE, name, mtu=MTU, group=LINK_GROUP, alias=alias),
                st.sampled_from([node_if_name(WEB), node_if_name(DB), "npx"]),
                st.one_of(st.sampled_from([alias_of(WEB), alias_of(DB)]), st.text(max_size=20)),
            ),
            st.lists(OBJECTS, max_size=4),
            st.sampled_from(["", "/run/netns/web"]),
            told=st.lists(TOLD, max_size=8),
        ),
        max_size=4,
        unique_by=lambda it: it.link.name,
    )
)
def test_whatever_is_found_no_address_is_lost_or_held_twice(some: list[Found]) -> None:
    """Each address that the node names is held, by one, and of what only a workload names none but a pool's; each link
    is someone's or left alone."""
    rebuilt = rebuild(some, POOLS, MTU)
    held = [a for it in rebuilt.attachments.values() for a in it.addresses]
    held += [a for addresses in rebuilt.unclaimed.values() for a in addresses]
    named = {address for found in some for it in found.objects if (address := _named(it)) is not None}
    assert len(held) == len(set(held))
    assert set(held) >= named
    assert all(any(address in pool.cidr for pool in POOLS) for address in set(held) - named)
    assert len(rebuilt.attachments) + len(rebuilt.unclaimed) == len(some)


def _named(thing: KernelObject) -> IPAddress | None:
    match thing:
        case Route():
            return ip_address(thing.dst)
        case Neighbour():
            return ip_address(thing.ip)
        case NftElement():
            return ip_address(str(thing.match[0]))
    return None


def _as_told(it: Found, *told: KernelObject) -> Found:
    return replace(it, told=[*it.told, *told])


def test_what_a_workload_says_takes_nothing_from_another() -> None:
    """It marks the other's addresses and one from outside as ours, takes another MAC, and is who it was."""
    mallory, victim = record(DB, path="/run/netns/db"), record()
    own = ip_address("10.1.0.99")
    mallory = mallory.model_copy(update={"addresses": (own,), "node_addresses": (NODE_V4,)})
    stolen = (V4, V6, ip_address("192.0.2.7"))
    lies: list[KernelObject] = [
        *(Address(Scope.WORKLOAD, "eth0", it.packed, it.max_prefixlen) for it in stolen),
        *(Neighbour(Scope.WORKLOAD, "eth0", it.packed, b"\2\0\0\0\0\7") for it in stolen),
        *(Route(Scope.WORKLOAD, bytes(4), 0, "eth0", FIRST_HOP_V4, it.packed, metric=n) for n, it in enumerate(stolen)),
        Link(Scope.WORKLOAD, "eth0", mac=b"\2\0\0\0\0\7", alias=alias_of(WEB)),
    ]
    it = found(mallory)
    rebuilt = rebuild([_as_told(it, *lies), found(victim)], POOLS, MTU).attachments
    assert rebuilt[WEB].addresses == (V4, V6)
    assert (rebuilt[DB].addresses, rebuilt[DB].mac, rebuilt[DB].spec.addresses) == (
        (own,),
        workload_mac(DB, (V4, V6)),
        (),
    )
    untouched = rebuild([it, found(victim)], POOLS, MTU).attachments
    assert rebuilt[DB] == untouched[DB]


def _silent(key: AttachmentKey, *addresses: IPAddress) -> Found:
    """Nothing on the node tells of it."""
    told = [Address(Scope.WORKLOAD, "eth0", it.packed, it.max_prefixlen) for it in addresses]
    return replace(found(record(key)), objects=(), told=told)


def test_where_the_node_says_nothing_a_workload_has_what_is_nobodys() -> None:
    """One address of a pool for each family, since routes and neighbours go with a link that somebody set down."""
    outside, second = ip_address("192.0.2.7"), ip_address("10.1.0.9")
    assert one(_silent(WEB, outside, NODE_V4, V4, second, V6)).addresses == (V4, V6)
    assert one(_silent(WEB, V4), pools=()).addresses == ()


def test_where_the_node_says_nothing_a_workload_takes_nothing_either() -> None:
    """Neither what another has by the node's word, nor what another claims that is as silent."""
    rebuilt = rebuild([_silent(DB, V4, V6), found(record())], POOLS, MTU).attachments
    assert (rebuilt[DB].addresses, rebuilt[WEB].addresses) == ((), (V4, V6))
    own = ip_address("10.1.0.9")
    rebuilt = rebuild([_silent(DB, V4, own), _silent(WEB, V4, V6)], POOLS, MTU).attachments
    assert (rebuilt[DB].addresses, rebuilt[WEB].addresses) == ((own,), (V6,))


def _via_first_hop(*dst: int, prefix_len: int = 32) -> Route:
    return Route(Scope.WORKLOAD, bytes(dst), prefix_len, "eth0", FIRST_HOP_V4)


def test_what_a_workload_says_of_routes_cannot_make_it_nobodys() -> None:
    """More routes than can be asked for, and one twice, are not believed; the record is there all the same."""
    twice = [replace(_via_first_hop(192, 0, 2, 0, prefix_len=24), metric=metric) for metric in (0, 5)]
    assert [str(it.dst) for it in one(_as_told(found(record()), *twice)).spec.routes] == ["192.0.2.0/24"]
    past_it = replace(twice[0], gateway=V4.packed)
    assert one(_as_told(found(record()), past_it)).spec.routes == ()
    many = [_via_first_hop(20, 0, n >> 8, n & 255) for n in range(ROUTES_MAX + 1)]
    after = one(_as_told(found(record()), *many))
    assert (after.spec.routes, after.addresses) == ((), (V4, V6))


def test_elements_of_the_table_tell_addresses_too() -> None:
    """Where routes and neighbours are gone, as with a link that is down, ports still name the address."""
    name = node_if_name(WEB)
    it = nothing_but(found(record()), NftElement(hairpin_set(4).name, (str(V4), str(V4)), owner=name))
    assert one(it).addresses == (V4,)


def test_status_says_what_was_rebuilt_and_what_was_not() -> None:
    """Counts and names, what is not known, where the file is; nothing at all when there is nothing to say."""
    rebuilt = rebuild([found(record())], POOLS, MTU).attachments.values()
    told = condition([*rebuilt, record(DB)], ["npx"], why="damaged", kept_as="/data/old", made_at=5.0)
    assert told is not None
    assert (told.type, told.status, told.last_transition) == ("StoreRebuilt", True, 5.0)
    assert told.message == (
        "the store was damaged (kept as /data/old); 1 attachment as the kernel had them (web/eth0); "
        f"not known of them: {NOT_KNOWN}; left alone, since it cannot be told whose they are: 1 link (npx)"
    )
    assert condition([record()], [], why="missing", kept_as="", made_at=5.0) is None
    assert condition([], [], why="damaged", kept_as="/data/old", made_at=5.0) is not None


def test_a_message_does_not_grow_with_the_node() -> None:
    many = [record(AttachmentKey(f"w{number:04}", "eth0")) for number in range(2000)]
    lost = [it.model_copy(update={"source": "rebuilt"}) for it in many]
    told = condition(lost, [], why="missing", kept_as="", made_at=5.0)
    assert told is not None
    assert "2000 attachments as the kernel had them (w0000/eth0, w0001/eth0" in told.message
    assert f"and {2000 - SHOWN} more" in told.message
    assert len(told.message) < 1000
