"""A node with workloads and an outside, wired by hand, on which policies are enforced and probed pair by pair.

Each example is one transaction of the table, and no daemon has to follow. A probe is a datagram, the first packet of a
connection, or an echo request; all go their way within the call that sends them, so that what has not come by the end
is denied. No kernel here need have SCTP: the packet that opens an association is sent, and seen, as it is.
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.base import IPAddress
from netplumb.models.kernel import LINK_GROUP, KernelObject
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.policyset import PolicySet
from netplumb.models.steps import Step
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World
from netplumb.reconciler.decide.render import render_elements, render_node
from netplumb.reconciler.kernel.nftables.table import Nftables
from tests.e2e.sctp import sctp_init
from tests.netns.conftest import NodeNamespace

PORTS = (80, 81, 5432)
_LATE_S = 2.0
_SETTLED_WITHIN_S = 20.0
_NUMBERS = {"udp": 17, "tcp": 6, "sctp": 132}
_ICMP = {4: (1, 8), 6: (58, 128)}  # the protocol, and the type of an echo request
_SCTP_FROM = 20_000


def workload(number: int, namespace: str, labels: dict[str, str]) -> Attachment:
    """What policies see of the workload with this number, wherever its interface is."""
    spec = AttachmentSpec(
        workload_id=f"w{number}", netns=NetnsRef(path=f"/run/netns/w{number}"), namespace=namespace, labels=labels
    )
    addresses = (ip_address(f"10.9.0.{number}"), ip_address(f"fd09::{number}"))
    return Attachment(spec=spec, source="rpc", addresses=addresses, mac="02:00:00:00:00:01")


@dataclass(frozen=True, slots=True)
class Probe:
    source: str
    destination: str
    protocol: str
    version: int
    port: int


@dataclass
class Site:
    """`outside` is no workload: a host that the node routes to. `hosts` has it and the workloads, by name."""

    node: NodeNamespace
    workloads: int
    stack: ExitStack = field(default_factory=ExitStack)
    addresses: dict[str, tuple[IPAddress, IPAddress]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = Node(node_addresses=(ip_address("10.9.0.254"), ip_address("fd09::fe")), masquerade=False)
        self._nftables = Nftables()
        self.stack.callback(self._nftables.close)
        self._asking: dict[tuple[str, int], socket.socket] = {}
        self._answering: dict[tuple[str, int, int], socket.socket] = {}
        self._raw: dict[tuple[str, int, str], socket.socket] = {}
        self._names: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        for switch in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            subprocess.run(["sysctl", "-qw", f"{switch}=1"], check=True)
        for number in range(1, self.workloads + 1):
            self._wire(f"w{number}", node_if_name(workload(number, "", {}).key), number, LINK_GROUP)
        self._wire("outside", "uplink0", 200, 0)
        self._settle()

    def _settle(self) -> None:
        """Until the kernel has found who is where: a first packet of IPv6 may be lost meanwhile, and is sent again
        after a second, or three."""
        probes = {Probe(*pair, "tcp", version, PORTS[0]) for pair in self.pairs() for version in (4, 6)}
        ends = time.monotonic() + _SETTLED_WITHIN_S
        while (came := self.arrived(list(probes), probes)) != probes:
            assert time.monotonic() < ends, f"{probes - came} did not come through"

    def close(self) -> None:
        self.stack.close()

    def _wire(self, name: str, link: str, last: int, group: int) -> None:
        self._paths[name] = path = self.node.netns(name)
        v4, v6 = self.addresses[name] = ip_address(f"10.9.0.{last}"), ip_address(f"fd09::{last}")
        script = (
            f"link add {link} group {group} type veth peer name eth0 netns {name}\nlink set {link} up\n"
            f"addr add 10.9.0.254/32 dev {link}\naddr add fd09::fe/128 dev {link} nodad\n"
            f"route add {v4} dev {link}\nroute add {v6} dev {link}\n"
        )
        self._ip(script)
        self._ip(
            f"link set lo up\nlink set eth0 up\naddr add {v4}/32 dev eth0\naddr add {v6}/128 dev eth0 nodad\n"
            "route add 10.9.0.254 dev eth0\nroute add default via 10.9.0.254\n"
            "route add fd09::fe dev eth0\nroute add default via fd09::fe dev eth0\n",
            "-n",
            name,
        )
        self._names |= {str(v4): name, str(v6): name}
        with self.node.in_netns(path):
            for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                self._asking[name, version] = self._bound(socket.socket(family, socket.SOCK_DGRAM), version, 0)
                for protocol, number in (("sctp", _NUMBERS["sctp"]), ("icmp", _ICMP[version][0])):
                    raw = self._raw[name, version, protocol] = socket.socket(family, socket.SOCK_RAW, number)
                    self.stack.callback(raw.close)
                    raw.setblocking(False)
                for port in PORTS:
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        bound = self._bound(socket.socket(family, kind), version, port)
                        self._answering[name, version, port + kind * 100_000] = bound

    def _bound(self, made: socket.socket, version: int, port: int) -> socket.socket:
        self.stack.callback(made.close)
        made.setblocking(False)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("0.0.0.0" if version == 4 else "::", port))
        if port and made.type == socket.SOCK_STREAM:
            made.listen(64)
        return made

    @staticmethod
    def _ip(script: str, *how: str) -> None:
        subprocess.run(["ip", *how, "-batch", "-"], input=script, text=True, check=True)

    def enforce(self, policies: PolicySet, workloads: Sequence[Attachment]) -> Sequence[Step]:
        """Brings the table there in one transaction, as a pass over the node does. Returns the steps."""
        combinations = frozenset(it for record in workloads for it in selection(policies).of(record).combinations)
        node = replace(self._made, policies=policies, combinations=combinations, tells_denied=True)
        desired = [it for it in render_node(node) if type(it).__name__ in ("NftSet", "NftChain")]
        desired += [element for record in workloads for element in render_elements(record, node)]
        steps = plan(desired, {it.key: it for it in self.table()}).steps
        if steps:
            self._nftables.apply(steps)
        # Nothing is left to do: what was rendered is listed back as it was rendered.
        with closing(Nftables()) as fresh:
            there = {it.key: it for it in (*fresh.observe(), *fresh.elements().values())}
        assert plan(desired, there).steps == ()
        return steps

    def table(self) -> Iterable[KernelObject]:
        return (*self._nftables.observe(), *self._nftables.elements().values())

    def world(self, policies: PolicySet, workloads: Sequence[Attachment]) -> World:
        endpoints = tuple(
            Endpoint(it.spec.workload_id, it.namespace, it.policy_labels, it.addresses) for it in workloads
        )
        return World(policies.policies, policies.namespaces, endpoints, frozenset(self._made.node_addresses))

    def packet(self, probe: Probe) -> Packet:
        at = 0 if probe.version == 4 else 1
        source, destination = self.addresses[probe.source][at], self.addresses[probe.destination][at]
        number = _NUMBERS[probe.protocol] if probe.protocol in _NUMBERS else _ICMP[probe.version][0]
        return Packet(source, destination, number, probe.port)

    def pairs(self) -> Iterator[tuple[str, str]]:
        return ((one, other) for one in self.addresses for other in self.addresses if one != other)

    def arrived(self, probes: Sequence[Probe], expected: Collection[Probe]) -> set[Probe]:
        """Those that came through. One that is expected and late is waited for."""
        datagrams = [it for it in probes if it.protocol == "udp"]
        raw = [it for it in probes if it.protocol in ("sctp", "icmp")]
        found = self._connected([it for it in probes if it.protocol == "tcp"], expected)
        for probe in datagrams:
            at = str(self.packet(probe).destination)
            self._asking[probe.source, probe.version].sendto(probe.source.encode(), (at, probe.port))
        self._seen(raw)  # what others were answered
        for probe in raw:
            at = str(self.packet(probe).destination)
            self._raw[probe.source, probe.version, probe.protocol].sendto(self._first(probe), (at, 0))
        missing = {it for it in (*datagrams, *raw) if it in expected}
        ends = time.monotonic() + _LATE_S
        while True:
            came = {*self._datagrams(datagrams), *self._seen(raw)}
            found |= came
            missing -= came
            if not missing or time.monotonic() > ends:
                return found
            time.sleep(0.01)

    @staticmethod
    def _first(probe: Probe) -> bytes:
        """The content of the packet that is sent by hand. The kernel fills in ICMPv6's checksum alone."""
        if probe.protocol == "sctp":
            return sctp_init(_SCTP_FROM, probe.port)
        made = struct.pack("!BBHHH", _ICMP[probe.version][1], 0, 0, 1, 1)
        return made[:2] + struct.pack("!H", ~sum(struct.unpack("!4H", made)) & 0xFFFF) + made[4:]

    def _seen(self, probes: Sequence[Probe]) -> Iterator[Probe]:
        """Those of these that came, as the packets say."""
        for name, version, protocol in {(it.destination, it.version, it.protocol) for it in probes}:
            while True:
                try:
                    packet, (source, *_) = self._raw[name, version, protocol].recvfrom(256)
                except BlockingIOError:
                    break
                content = packet[20:] if version == 4 else packet  # IPv6's header is not told
                if protocol == "sctp":
                    yield Probe(self._names[source], name, protocol, version, int.from_bytes(content[2:4], "big"))
                elif content[0] == _ICMP[version][1]:
                    yield Probe(self._names[source], name, protocol, version, 0)

    def _datagrams(self, probes: Sequence[Probe]) -> Iterator[Probe]:
        for name, version, port in {(it.destination, it.version, it.port) for it in probes}:
            bound = self._answering[name, version, port + socket.SOCK_DGRAM * 100_000]
            while True:
                try:
                    source = bound.recv(64).decode()
                except BlockingIOError:
                    break
                yield Probe(source, name, "udp", version, port)

    def _connected(self, probes: Sequence[Probe], expected: Collection[Probe]) -> set[Probe]:
        asking: dict[Probe, socket.socket] = {}
        with ExitStack() as stack:
            for source in self.addresses:
                with self.node.in_netns(self._paths[source]):
                    for probe in [it for it in probes if it.source == source]:
                        family = socket.AF_INET if probe.version == 4 else socket.AF_INET6
                        made = asking[probe] = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                        made.setblocking(False)
                        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        made.connect_ex((str(self.packet(probe).destination), probe.port))
            missing = [asking[it] for it in probes if it in expected]
            ends = time.monotonic() + _LATE_S
            while missing and time.monotonic() < ends:
                done = select.select([], missing, [], 0.1)[1]
                missing = [it for it in missing if it not in done]
            ready = set(select.select([], list(asking.values()), [], 0)[1])
            # Once it has an answer, it is connected or refused; nobody here refuses.
            found = {probe for probe, made in asking.items() if made in ready}
        for name, version, port in {(it.destination, it.version, it.port) for it in probes}:
            with suppress(BlockingIOError):
                while True:
                    self._answering[name, version, port + socket.SOCK_STREAM * 100_000].accept()[0].close()
        return found
