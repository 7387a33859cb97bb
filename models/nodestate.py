"""The state of a node as somebody sees it who asks what is wrong with it: interfaces, neighbour tables, fullness."""

from __future__ import annotations

from dataclasses import dataclass

from netplumb.models.base import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class LinkState:
    """An interface of the node. `running` is one that is up and has a carrier, `ethernet` one of that kind, and `asks`
    one of those behind which the kernel asks for neighbours; `master` is the index of what it is a port of, such as a
    bridge, `rp_filter` what holds for it, the node's and its own taken together, `qdisc` the kind of queue that it
    sends through, and `xdp` how `ip link` calls the XDP program that what comes in meets first; it is `mute` where it
    answers ARP for no address."""

    name: str
    index: int
    up: bool = True
    running: bool = True
    asks: bool = True
    ethernet: bool = True
    mtu: int = 1500
    group: int = 0
    kind: str = ""
    master: int = 0
    mac: str = ""
    alias: str = ""
    rp_filter: int = 0
    qdisc: str = ""
    xdp: str = ""
    mute: bool = False


@dataclass(frozen=True, slots=True)
class LinkProgram:
    """What somebody put onto a link, and what comes in (`ingress`) or goes out (`egress`) meets beside all tables: a
    classifier of a `kind` with a preference, or an XDP program. It may drop packets or take them away, and `dropped` is
    how many all classifiers of the link did."""

    link: str
    side: str
    kind: str
    preference: int = 0
    dropped: int = 0

    @property
    def is_xdp(self) -> bool:
        return self.kind.startswith("xdp")

    def __str__(self) -> str:
        if self.is_xdp:
            return f"an XDP program on {self.link}"
        counted = f"; {self.dropped} packets were dropped so far" if self.dropped else ""
        return f"a classifier at the {self.side} of {self.link} ({self.kind}{counted})"

    @property
    def heal(self) -> str:
        """The command that takes it away."""
        if self.is_xdp:
            return f"ip link set dev {self.link} {self.kind} off"
        return f"tc filter del dev {self.link} {self.side} pref {self.preference}"


@dataclass(frozen=True, slots=True)
class Carrier:
    """As what a VXLAN device sends to one of the nodes behind it: from `src` to `dst`, in UDP to this port. Where it
    knows no node there, `dst` is None."""

    src: IPAddress
    dst: IPAddress | None
    port: int


@dataclass(frozen=True, slots=True)
class RefusedAddress:
    """An IPv6 address that the kernel does not use, since another host on the network answered for it."""

    ip: IPAddress
    index: int


@dataclass(frozen=True, slots=True)
class SharedAddress:
    """An IPv4 address of the node, of a network of this prefix `length`, that hosts with these MACs answer for too."""

    ip: IPAddress
    length: int
    index: int
    macs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SilentGateway:
    """A next hop of the node's routes that is not found: nobody answers for it, or it `answers` with this MAC and the
    kernel does not go by that; where somebody set an entry for it, that has the MAC `entry`."""

    ip: IPAddress
    index: int
    answers: str = ""
    entry: str = ""


@dataclass(frozen=True, slots=True)
class IpsecPolicy:
    """What it takes: packets in a `direction` (in, out, fwd) from `src` to `dst`. One that does not block hands them to
    IPsec, which drops them unless it has keys for them, and one `for_all` asks for nothing else of them. One that
    `is_default` holds for what no other is about."""

    direction: str
    src: IPNetwork
    dst: IPNetwork
    blocks: bool
    for_all: bool = True
    is_default: bool = False

    def __str__(self) -> str:
        """As `ip xfrm policy delete` takes it."""
        if self.is_default:
            return f"setdefault {self.direction} block"
        return f"src {self.src} dst {self.dst} dir {self.direction}"

    @property
    def heal(self) -> str:
        """The command that takes it away."""
        return f"ip xfrm policy {f'setdefault {self.direction} accept' if self.is_default else f'delete {self}'}"


@dataclass(frozen=True, slots=True)
class NeighbourTable:
    """`entries` are those of the node that the kernel may throw away, which is what it counts against `most`;
    `overflows` how often it found no room since the boot."""

    version: int
    entries: int
    most: int
    overflows: int = 0


@dataclass(frozen=True, slots=True)
class Fullness:
    """How much of something that has an end is used."""

    used: int
    most: int

    def is_nearly(self, share: float) -> bool:
        return self.most > 0 and self.used >= share * self.most

    def __str__(self) -> str:
        return f"{self.used} of {self.most}"


NOTHING = Fullness(0, 0)
"""Of what is not known."""
