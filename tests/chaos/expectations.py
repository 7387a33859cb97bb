"""What the kernel must hold, and no more of ours, when the daemon lists these attachments: netplumb's contract written
down a second time, in the words of `ip`, to be held against the first."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.chaos.foreigners import THEIRS_ON_LO
from tests.chaos.peers import is_way
from tests.chaos.readings import Reading
from tests.chaos.wishes import EVERY_POOL, VISITORS, Key
from tests.e2e.hosts import Host

FIRST_HOP_V4, FIRST_HOP_V6 = "169.254.77.1", "fe80::1"
FIRST_HOP_MAC = "02:9c:52:fe:6d:0a"
GROUP = "28272"

Found: TypeAlias = set[tuple[object, ...]]
Served: TypeAlias = tuple[int, str, int, int]
"""An IP version, a protocol, a port of the node, and that of the workload."""


def on_node(
    reading: Reading, listed: Collection[pb.Attachment], pools: Collection[str], node_mtu: int
) -> Iterator[str]:
    """What differs on the node, in words, but for the ways to other nodes."""
    attached = [each for each in listed if each.phase == "Attached"]
    links: Found = set()
    routes: Found = set()
    neighbours: Found = set()
    proxies: Found = set()
    serves = served(listed)
    for each in attached:
        dev = each.node_if_name
        alias = f"netplumb:{each.if_name}:{each.workload_id}"
        shaped = "tbf" if each.bandwidth.ingress_rate else "noqueue"
        mtu = each.mtu or node_mtu
        links.add((dev, "veth", alias, mtu, GROUP, FIRST_HOP_MAC, "none", shaped, True))
        if each.bandwidth.egress_rate:
            links.add((dev.replace("np", "nq", 1), "ifb", alias, mtu, GROUP, "tbf", True))
        proxies.add((FIRST_HOP_V6, dev))
        for address in each.addresses:
            routes.add((address, dev))
            neighbours.add((address, dev, each.mac))
        if any(version == 6 for version, *_ in serves[_key(each)]):
            routes.add(("::1", dev))  # lets what [::1] is asked leave over that link
    seen = {name: link for name, link in reading.links.items() if str(link.get("ifalias", "")).startswith("netplumb:")}
    seen.pop("theirs5", None)  # the foreign one with an alias like ours
    yield from _compared("link", links, {_look_of(link) for link in seen.values()})
    yield from _compared("route", routes, {(it["dst"], it["dev"]) for it in reading.routes_of_ours() if not is_way(it)})
    here = {name for name, *_ in links} | set(seen)
    yield from _compared(
        "neighbour", neighbours, {(n["dst"], n["dev"], n.get("lladdr")) for n in reading.neighbours if n["dev"] in here}
    )
    yield from _compared(
        "proxy neighbour", proxies, {(n["dst"], n["dev"]) for n in reading.proxies if n["dev"] in here}
    )
    yield from _loopback(reading, listed, pools)


def _look_of(link: dict[str, Any]) -> tuple[object, ...]:
    kind = link["linkinfo"]["info_kind"]
    of_pair = (link["address"], link.get("inet6_addr_gen_mode")) if kind == "veth" else ()
    up = "UP" in link["flags"]
    return (link["ifname"], kind, link["ifalias"], link["mtu"], link["group"], *of_pair, link["qdisc"], up)


def in_table(node: Host, listed: Iterable[pb.Attachment]) -> Iterator[str]:
    """What differs of the ports that lead to workloads, in both families and both maps."""
    wanted: Found = set()
    serves = served(listed)
    for each in listed:
        if each.phase != "Attached":
            continue
        for version, protocol, port, to_port in serves[_key(each)]:
            for address in each.addresses:
                if ip_address(address).version == version:
                    wanted.add((f"port{version}_address", protocol, port, address))
                    wanted.add((f"port{version}_port", protocol, port, to_port))
    yield from _compared("mapped port", wanted, set(_mapped(node)))


def served(listed: Iterable[pb.Attachment]) -> dict[Key, set[Served]]:
    """What each attachment's mappings may lead to it: of what several interfaces of a workload map, the one with the
    default route serves what it has an address for, then the first by name."""
    serves: dict[Key, set[Served]] = {}
    taken: defaultdict[str, set[tuple[int, str, int]]] = defaultdict(set)
    held = (each for each in listed if each.generation and each.phase != "Detaching")
    for each in sorted(held, key=lambda it: (not it.default_route, it.if_name)):
        before = taken[each.workload_id]
        mine = serves[_key(each)] = {it for it in _mappings(each) if it[:3] not in before}
        versions = {ip_address(address).version for address in each.addresses}
        before.update(it[:3] for it in mine if it[0] in versions)
    return serves


def _mappings(each: pb.Attachment) -> Iterator[Served]:
    for mapping in each.port_mappings:
        last = mapping.host_port_end or mapping.host_port
        for port in range(mapping.host_port, last + 1):
            for version in (4, 6):
                yield version, mapping.protocol, port, mapping.container_port + port - mapping.host_port


def _key(each: pb.Attachment) -> Key:
    return each.workload_id, each.if_name


def _mapped(node: Host) -> Iterator[tuple[object, ...]]:
    listing = json.loads(node.run("nft -j list table inet netplumb"))["nftables"]
    maps = [thing["map"] for thing in listing if thing.get("map", {}).get("name", "").startswith("port")]
    for each in maps:
        for match, value in each.get("elem", ()):
            # A comment makes an object of the match.
            yield (each["name"], *match.get("elem", {"val": match})["val"]["concat"], value)


def _loopback(reading: Reading, listed: Collection[pb.Attachment], pools: Collection[str]) -> Iterator[str]:
    """The first hop, and the address of each pool; those of former pools too while they may be in use."""
    have = reading.addresses_on("lo")
    must = {FIRST_HOP_V4, *map(_node_address, pools)}
    may = set(map(_node_address, EVERY_POOL)) if listed else set()
    for address in sorted(must - have):
        yield f"node: lo has no address {address}"
    for address in sorted(have - must - may - {THEIRS_ON_LO}):
        yield f"node: lo has address {address}, which nobody uses"


def _node_address(pool: str) -> str:
    return str(ip_network(pool)[1])


def in_workload(
    name: str,
    reading: Reading,
    attached: Collection[pb.Attachment],
    listed: Iterable[pb.Attachment],
    node_mtu: int,
) -> Iterator[str]:
    """What differs in one workload's namespace. `listed` tells which workloads have several interfaces."""
    interfaces = Counter(each.workload_id for each in listed if each.generation and each.phase != "Detaching")
    links: Found = set()
    addresses: Found = set()
    defaults: Found = set()
    by_source: Found = set()
    hops: Found = set()
    neighbours: Found = set()
    for each in attached:
        dev = each.if_name
        links.add((dev, each.mac, each.mtu or node_mtu, True))
        for version, hop in ((4, FIRST_HOP_V4), (6, FIRST_HOP_V6)):
            mine = [address for address in each.addresses if ip_address(address).version == version]
            addresses.update((dev, address) for address in mine)
            if not mine:
                continue
            neighbours.add((dev, hop, FIRST_HOP_MAC))
            if each.default_route:
                defaults.add((dev, hop, mine[0]))
            if interfaces[each.workload_id] > 1:
                by_source.add((dev, hop, mine[0]))
            if version == 4:
                hops.add((dev, hop, mine[0]))
    ours = {link for link in reading.links if not link.startswith("theirs") and link != "lo"}
    yield from _compared(
        f"{name}: link",
        links,
        {
            (link, found["address"], found["mtu"], "UP" in found["flags"])
            for link, found in reading.links.items()
            if link in ours
        },
    )
    yield from _compared(
        f"{name}: address",
        addresses,
        {(dev, address) for dev in ours for address in reading.addresses_on(dev) if not _is_visitor(address)},
    )
    routes = reading.routes_of_ours()
    for what, wanted, of_main in (("default route", defaults, True), ("default route by source", by_source, False)):
        yield from _compared(
            f"{name}: {what}",
            wanted,
            {
                (r["dev"], r.get("gateway"), r.get("prefsrc"))
                for r in routes
                if r["dst"] == "default" and (r.get("table", "main") == "main") == of_main
            },
        )
    yield from _compared(
        f"{name}: first hop",
        hops,
        {(r["dev"], r["dst"], r.get("prefsrc")) for r in routes if r["dst"] == FIRST_HOP_V4},
    )
    yield from _compared(
        f"{name}: neighbour",
        neighbours,
        {(n["dev"], n["dst"], n.get("lladdr")) for n in reading.neighbours if n["dev"] in ours},
    )
    if attached and "UP" not in reading.links["lo"]["flags"]:
        yield f"{name}: lo is down"


def _is_visitor(address: str) -> bool:
    """One of those that a step puts on an interface of ours."""
    return address.startswith(VISITORS)


def in_list(listed: Iterable[pb.Attachment]) -> Iterator[str]:
    """What is wrong with the list itself."""
    holders: dict[str, str] = {}
    for each in listed:
        key = f"{each.workload_id}/{each.if_name}"
        for address in each.addresses if each.generation else ():
            if (other := holders.setdefault(address, key)) != key:
                yield f"{address} is given to {other} and to {key}"


def _compared(what: str, wanted: Found, found: Found) -> Iterator[str]:
    for thing in sorted(wanted - found, key=str):
        yield f"{what} missing: {thing}"
    for thing in sorted(found - wanted, key=str):
        yield f"{what} that should not be: {thing}"
