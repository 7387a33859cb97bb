"""A workload in the words of go-cni, as requests to the daemon; and the daemon's answers as go-cni's results. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypedDict

from netplumb.api import answers
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import POD_UID
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.ports import PortMapping
from netplumb.models.routing import Dns

IGNORE_UNKNOWN = "IgnoreUnknown"  # to a plugin, not to the daemon

Capabilities = TypedDict(
    "Capabilities",
    {
        "portMappings": Sequence[PortMapping],
        "bandwidth": Bandwidth,
        "dns": Dns,
        # Addresses to give the workload; a prefix length, as CNI's conventions allow, changes nothing.
        "ips": Sequence[str],
        "mac": str,
        # Reaches the daemon as the annotation of the same name.
        "cgroupPath": str,
        # The daemon keeps those that its settings allow.
        "io.kubernetes.cri.pod-annotations": Mapping[str, str],
    },
    total=False,
)
Capabilities.__doc__ = """What a runtime asks for beside the interface, by the names of CNI's conventions."""


@dataclass(frozen=True, slots=True)
class Network:
    """One interface of a workload. `pool` names the pools that it takes addresses from, `mtu` is that of both ends in
    bytes, 1280 to 65535; without them the daemon chooses. `name` is for people."""

    name: str = "netplumb"
    pool: str = ""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address, and the first hop of its family."""

    ip: IPAddress
    gateway: IPAddress | None


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """An interface. `sandbox` is the path of its network namespace; the node's end of it has none."""

    mac: str = ""
    sandbox: str = ""
    ip_configs: tuple[IPConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the workload; without a gateway it leads to the node."""

    dst: IPNetwork
    gw: IPAddress | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a workload was given: interfaces by name, the node's ends among them; DNS of each network; all routes."""

    interfaces: Mapping[str, InterfaceConfig]
    dns: tuple[Dns, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """What a runtime says of it."""

    container_id: str
    path: str
    labels: Mapping[str, str]
    capabilities: Capabilities = field(default_factory=Capabilities)

    @property
    def workload_id(self) -> str:
        """The pod where the runtime names one: its network outlives the sandbox. An empty UID names none."""
        return self.labels.get(POD_UID) or self.container_id

    def attach(self, if_name: str, network: Network) -> pb.AttachRequest:
        asked = self.capabilities
        request = pb.AttachRequest(
            workload_id=self.workload_id,
            netns=self._netns(if_name),
            container_id=self.container_id,
            labels={key: value for key, value in self.labels.items() if key != IGNORE_UNKNOWN},
            annotations=self._annotations(),
            addresses=[str(ip_interface(ip).ip) for ip in asked.get("ips", ())],
            mac=asked.get("mac", ""),
            port_mappings=[answers.port_mapping(mapping) for mapping in asked.get("portMappings", ())],
            pool=network.pool,
            mtu=network.mtu,
        )
        if (bandwidth := asked.get("bandwidth")) is not None:
            request.bandwidth.CopyFrom(answers.bandwidth(bandwidth))
        if (dns := asked.get("dns")) is not None:
            request.dns.CopyFrom(answers.dns(dns))
        return request

    def detach(self, if_name: str) -> pb.DetachRequest:
        return pb.DetachRequest(
            workload_id=self.workload_id, netns=self._netns(if_name), container_id=self.container_id
        )

    def _netns(self, if_name: str) -> pb.NetNSAttachment:
        return pb.NetNSAttachment(netns_path=self.path, if_name=if_name)

    def _annotations(self) -> dict[str, str]:
        annotations = dict(self.capabilities.get("io.kubernetes.cri.pod-annotations", {}))
        if cgroup_path := self.capabilities.get("cgroupPath"):
            annotations["cgroupPath"] = cgroup_path
        return annotations


def result(path: str, answers: Iterable[pb.AttachResponse]) -> Result:
    interfaces: dict[str, InterfaceConfig] = {}
    dns: list[Dns] = []
    routes: list[Route] = []
    for answer in answers:
        given = answer.attachment
        gateways = {gateway.version: gateway for gateway in map(ip_address, given.gateways)}
        ips = [IPConfig(ip, gateways.get(ip.version)) for ip in map(ip_address, answer.ip)]
        interfaces[given.if_name] = InterfaceConfig(given.mac, path, tuple(ips))
        interfaces[given.node_if_name] = InterfaceConfig()
        dns.append(
            Dns(
                servers=tuple(map(ip_address, given.dns.servers)),
                searches=tuple(given.dns.searches),
                options=tuple(given.dns.options),
            )
        )
        if given.default_route:
            everywhere = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
            routes += [Route(everywhere[version], gateway) for version, gateway in gateways.items()]
        routes += [Route(ip_network(it.dst), ip_address(it.gw) if it.gw else None) for it in given.routes]
    return Result(interfaces, tuple(dns), tuple(routes))
