"""The kernel's objects in netplumb's terms: what rendering makes, observing reads and planning compares.

Frozen, slotted dataclasses in canonical form: two objects that the kernel would treat as the same are equal here.
IP and MAC addresses are packed bytes in network order. `key` is the identity that a desired and an observed object
share; fields that do not take part in comparison (interface indexes) are learnt from the kernel and never desired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, TypeAlias

from netplumb.models.nft import NftChain, NftElement, NftHooks, NftSet
from netplumb.models.tc import IngressQdisc, Redirect, Tbf
from netplumb.models.words import ip_words, mac_words

RT_PROTOCOL = 78
"""Our route protocol, free in iproute2's rt_protos; also our NDA_PROTOCOL on neighbours."""

ADDRESS_PROTOCOL = 78
"""Our IFA_PROTO on addresses (values from 4 on are free for user space, include/uapi/linux/if_addr.h)."""

LINK_GROUP = 0x6E70
"""Our link group ("np")."""

DEPARTING_GROUPS = range(LINK_GROUP << 16, (LINK_GROUP << 16) + (1 << 16))
"""Groups into which links of ours are put before they are removed, one group for each removal. The nftables table lets
no packet from or to them."""

FIRST_HOP_MAC = bytes.fromhex("029c52fe6d0a")
FIRST_HOP_V4 = bytes((169, 254, 77, 1))
FIRST_HOP_V6 = bytes.fromhex("fe80") + bytes(13) + b"\x01"

RT_SCOPE_UNIVERSE = 0
RT_SCOPE_SITE = 200
RT_SCOPE_LINK = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RTN_UNICAST = 1
RTN_LOCAL = 2
LOCALHOST_ROUTE_METRIC = 10  # behind the kernel's own route to ::1, which has metric 0
IPV6_METRIC = 1024  # what the kernel fills in for an IPv6 route without one (IP6_RT_PRIO_USER)

WAYS_GROUP = 0x6E71
"""The link group of the device to other nodes, so that no rule takes it for a workload's."""

_SETTABLE = (
    *("name", "kind", "mac", "mtu", "group", "master", "alias", "tunnel"),
    *("addr_gen_mode", "proxy_ndp", "route_localnet", "forwarding_v4", "forwarding_v6", "ipv6", "arp", "arp_filter"),
)
"""The fields of a link that may be desired."""

ADDR_GEN_MODE_EUI64 = 0
ADDR_GEN_MODE_NONE = 1


class Scope(IntEnum):
    """On which side an object lives. Steps on the node come before steps in the workload."""

    NODE = 0
    WORKLOAD = 1


def _protocol_words(protocol: int) -> str:
    return "netplumb" if protocol == RT_PROTOCOL else str(protocol)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What makes a link a VXLAN device, none of which can be changed on an existing one: its VNI (`network`), the UDP
    port, and the node's address that it sends from. With `learning` it believes any sender about where other nodes
    are."""

    network: int
    port: int
    local: bytes
    learning: bool = False

    def __str__(self) -> str:
        return f"id {self.network} local {ip_words(self.local)} dstport {self.port}"


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface, without its administrative state (that is `LinkUp`, since it comes later in a plan).

    None in a desired link means "whatever the kernel has". A veth's two ends are two links, each the other's `peer`.
    `master` is the index of the bridge, bond or VRF that takes what the link receives, 0 if none; for rules, such a
    packet comes in by the master. A link without `arp` resolves no neighbours, for IPv6 neither; when `arp` is
    switched, the kernel forgets all of them. With `arp_filter` the link answers ARP only from hosts that are routed by
    it.
    """

    rank: ClassVar[int] = 20

    scope: Scope
    name: str
    kind: str = "veth"
    mac: bytes | None = None
    mtu: int | None = None
    group: int | None = None
    alias: str | None = None
    addr_gen_mode: int | None = None
    proxy_ndp: bool | None = None
    route_localnet: bool | None = None
    forwarding_v4: bool | None = None
    forwarding_v6: bool | None = None
    ipv6: bool | None = None
    arp: bool | None = None
    arp_filter: bool | None = None
    master: int | None = None
    tunnel: Tunnel | None = None
    peer: str | None = field(default=None, compare=False)
    stray: bool = field(default=False, compare=False)
    index: int = field(default=0, compare=False)
    peer_index: int = field(default=0, compare=False)
    peer_nsid: int = field(default=-1, compare=False)
    accept_ra: int = field(default=0, compare=False)
    qdisc: str = field(default="", compare=False)
    master_name: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        return (Link, self.scope, self.name)

    @property
    def ipv6_disabled(self) -> bool:
        """Whether it has no IPv6: by its sysctl, or since the kernel set up no IPv6 for it at all (`ipv6` is None), as
        with an MTU that is too small."""
        return not self.ipv6

    @property
    def master_words(self) -> str:
        """The master's name; its index if it is gone or was never read."""
        return (self.master_name or f"with index {self.master}") if self.master else "none"

    def differences(self, observed: Link) -> tuple[str, ...]:
        """Names of the fields that are desired and that `observed` does not have as desired."""
        return tuple(
            name
            for name in _SETTABLE
            if (wanted := getattr(self, name)) is not None and wanted != getattr(observed, name)
        )

    def __str__(self) -> str:
        words = [f"link {self.name} {self.kind}"]
        if self.peer:
            words.append(f"peer {self.peer}")
        if self.tunnel is not None:
            words.append(str(self.tunnel))
        if self.mac is not None:
            words.append(f"address {mac_words(self.mac)}")
        if self.mtu is not None:
            words.append(f"mtu {self.mtu}")
        if self.group is not None:
            words.append(f"group {self.group}")
        if self.master:
            words.append(f"master {self.master_words}")
        if self.alias is not None:
            words.append(f"alias {self.alias!r}")
        if self.addr_gen_mode == ADDR_GEN_MODE_NONE:
            words.append("addrgenmode none")
        if self.proxy_ndp:
            words.append("proxy_ndp on")
        if self.route_localnet:
            words.append("route_localnet on")
        if self.forwarding_v4:
            words.append("forwarding on")
        if self.arp_filter:
            words.append("arp_filter on")
        if self.arp is False:
            words.append("arp off")
        if self.ipv6 is False:
            words.append("disable_ipv6 on")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """That an interface is administratively up. Its guards and addresses come before it, its routes after it."""

    rank: ClassVar[int] = 50

    scope: Scope
    link: str

    @property
    def key(self) -> tuple[object, ...]:
        return (LinkUp, self.scope, self.link)

    def __str__(self) -> str:
        return f"link {self.link} up"


@dataclass(frozen=True, slots=True)
class Address:
    """A `deprecated` IPv6 address is not chosen as a source while there is another; IPv4 has scopes for that."""

    rank: ClassVar[int] = 40

    scope: Scope
    link: str
    ip: bytes
    prefix_len: int
    rt_scope: int = RT_SCOPE_UNIVERSE
    protocol: int = ADDRESS_PROTOCOL
    deprecated: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        return (Address, self.scope, self.link, self.ip, self.prefix_len)

    def __str__(self) -> str:
        return f"address {ip_words(self.ip, self.prefix_len)} dev {self.link} proto {_protocol_words(self.protocol)}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour, or (with `proxy`) an address that the node answers for on that link."""

    rank: ClassVar[int] = 60

    scope: Scope
    link: str
    ip: bytes
    mac: bytes | None = None
    proxy: bool = False
    protocol: int = RT_PROTOCOL

    @property
    def key(self) -> tuple[object, ...]:
        return (Neighbour, self.scope, self.link, self.ip, self.proxy)

    def __str__(self) -> str:
        what = f"proxy {ip_words(self.ip)}" if self.proxy else f"{ip_words(self.ip)} lladdr {mac_words(self.mac)}"
        return f"neighbour {what} dev {self.link} proto {_protocol_words(self.protocol)}"


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """The node at which a VXLAN device finds a MAC address. All entries of our device are ours, since it learns
    none."""

    rank: ClassVar[int] = 55

    link: str
    mac: bytes
    dst: bytes

    @property
    def key(self) -> tuple[object, ...]:
        return (FdbEntry, self.link, self.mac)

    def __str__(self) -> str:
        return f"fdb {mac_words(self.mac)} dst {ip_words(self.dst)} dev {self.link}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table, one of ours in another table, or a local one over a link other than the loopback. A
    foreign route to the same destination differs in `protocol`, hence in its key. An IPv4 route may have an IPv6
    gateway; an `onlink` gateway is taken to be on the link, whatever other routes say."""

    scope: Scope
    dst: bytes
    prefix_len: int
    link: str
    gateway: bytes | None = None
    prefsrc: bytes | None = None
    metric: int = 0
    rt_scope: int = RT_SCOPE_UNIVERSE
    protocol: int = RT_PROTOCOL
    table: int = RT_TABLE_MAIN
    type: int = RTN_UNICAST
    onlink: bool = False

    @property
    def rank(self) -> int:
        """A route through a gateway needs the on-link route to that gateway first."""
        return 70 if self.gateway is None else 80

    @property
    def key(self) -> tuple[object, ...]:
        return (Route, self.scope, self.dst, self.prefix_len, self.metric, self.protocol, self.table, self._sharing)

    @property
    def _sharing(self) -> str:
        """The local route to ::1 exists once for each link that needs it; any other destination has one link."""
        return self.link if self.table == RT_TABLE_LOCAL else ""

    def __str__(self) -> str:
        local = "local " if self.type == RTN_LOCAL else ""
        words = [f"route {local}{ip_words(self.dst, self.prefix_len)}"]
        if self.gateway is not None:
            inet6 = "inet6 " if len(self.gateway) > len(self.dst) else ""
            words.append(f"via {inet6}{ip_words(self.gateway)}")
        words.append(f"dev {self.link} proto {_protocol_words(self.protocol)}")
        if self.onlink:
            words.append("onlink")
        if self.table not in (RT_TABLE_MAIN, RT_TABLE_LOCAL):
            words.append(f"table {self.table}")
        if self.prefsrc is not None:
            words.append(f"src {ip_words(self.prefsrc)}")
        if self.metric and not (len(self.dst) == 16 and self.metric == IPV6_METRIC):
            words.append(f"metric {self.metric}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A sysctl below /proc/sys, named with slashes (`net/ipv4/ip_forward`), with its value as the file shows it. With
    `instead_of` it is only desired while it has that value. An observed sysctl of an `interface` carries the
    interface's index, since another interface may get the name."""

    rank: ClassVar[int] = 10

    scope: Scope
    name: str
    value: str
    instead_of: str | None = field(default=None, compare=False)
    interface: int = field(default=0, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        return (Sysctl, self.scope, self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name.replace('/', '.')} = {self.value}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule, for what comes from `src` or goes to `dst`. Two that differ only in `preference` are the same
    rule in another place."""

    rank: ClassVar[int] = 90

    scope: Scope
    preference: int
    src: bytes | None = None
    src_len: int = 0
    dst: bytes | None = None
    dst_len: int = 0
    table: int = RT_TABLE_MAIN
    suppress_prefix_len: int | None = None
    suppress_group: int | None = None
    protocol: int = RT_PROTOCOL

    @property
    def key(self) -> tuple[object, ...]:
        selected = (self.src, self.src_len, self.dst, self.dst_len)
        return (Rule, self.scope, *selected, self.table, self.suppress_prefix_len, self.suppress_group, self.protocol)

    @property
    def words(self) -> str:
        """The rule without its preference."""
        words = ["rule"]
        if self.src is not None:
            words.append(f"from {ip_words(self.src, self.src_len)}")
        if self.dst is not None:
            words.append(f"to {ip_words(self.dst, self.dst_len)}")
        words.append(f"lookup {'main' if self.table == RT_TABLE_MAIN else self.table}")
        if self.suppress_prefix_len is not None:
            words.append(f"suppress_prefixlength {self.suppress_prefix_len}")
        if self.suppress_group is not None:
            words.append(f"suppress_ifgroup {self.suppress_group}")
        return " ".join(words)

    def __str__(self) -> str:
        return f"{self.words} proto {_protocol_words(self.protocol)} preference {self.preference}"


KernelObject: TypeAlias = (
    Link
    | LinkUp
    | Address
    | Neighbour
    | FdbEntry
    | Route
    | Rule
    | Sysctl
    | Tbf
    | IngressQdisc
    | Redirect
    | NftHooks
    | NftSet
    | NftChain
    | NftElement
)
Key: TypeAlias = tuple[object, ...]


def scope_of(thing: KernelObject) -> Scope:
    """The object's scope; objects without one are on the node."""
    return getattr(thing, "scope", Scope.NODE)
