"""From what a runtime asks to a wish of ours. Pure.

The models judge the wish; what they find wrong is said in the words that the runtime, or who wrote its configuration,
used for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface

from pydantic import ValidationError

from netplumb.api.cni.config import Bandwidth, PortMapping, RuntimeDns
from netplumb.api.cni.request import Request
from netplumb.api.cni.spec import CniError, Code
from netplumb.api.mistakes import Location, first_mistake
from netplumb.api.text import printable
from netplumb.models.attachment import AttachmentSpec, keepable_annotations
from netplumb.models.base import IPAddress

_ENVIRONMENT = {
    "workload_id": "CNI_ARGS: K8S_POD_UID",
    "netns": "CNI_NETNS",
    "if_name": "CNI_IFNAME",
    "container_id": "CNI_CONTAINERID",
}
_CONFIG = {
    "addresses": "runtimeConfig.ips",
    "mac": "runtimeConfig.mac",
    "port_mappings": "runtimeConfig.portMappings",
    "bandwidth": "runtimeConfig.bandwidth",
    "dns": "dns",
    "labels": "args.cni.labels",
    "annotations": "runtimeConfig.io.kubernetes.cri.pod-annotations",
}
_FIELDS = {
    name: field.alias or name
    for model in (PortMapping, Bandwidth, RuntimeDns)
    for name, field in model.model_fields.items()
}
_LABELS = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")


def attachment_spec(request: Request) -> AttachmentSpec:
    """The wish in an ADD. Raises CniError, naming what is wrong."""
    config = request.config
    runtime = config.runtime_config
    wish: dict[str, object] = {
        "workload_id": request.workload_id,
        "netns": {"path": request.netns},
        "if_name": request.if_name,
        "container_id": request.container_id,
        "addresses": _addresses(request),
        "mac": runtime.mac or request.args.get("MAC", ""),
        "mtu": config.mtu,
        "default_route": config.default_route,
        "allow_foreign_address": config.allow_foreign_address,
        "pool": config.pool,
        "labels": _labels(request),
        "port_mappings": [_port_mapping(n, mapping) for n, mapping in enumerate(runtime.port_mappings)],
        "bandwidth": runtime.bandwidth.model_dump(),
        "dns": _dns(request),
        "annotations": keepable_annotations(runtime.pod_annotations),
    }
    try:
        return AttachmentSpec.model_validate(wish)
    except ValidationError as error:
        location, message = first_mistake(error)
        if location and location[0] in _ENVIRONMENT:
            raise CniError(Code.INVALID_ENVIRONMENT, f"{_ENVIRONMENT[str(location[0])]}: {message}") from None
        raise CniError(Code.INVALID_CONFIG, f"{_field(location)}: {message}" if location else message) from None


def _field(location: Location) -> str:
    name, *inner = location
    words = _CONFIG.get(str(name), str(name))
    for part in inner:
        if isinstance(part, int):
            words += f"[{part}]"
        elif part in _FIELDS:  # the rest of the location are keys of a mapping and pydantic's names for types
            words += f".{_FIELDS[part]}"
    return words


def _addresses(request: Request) -> list[IPAddress]:
    """Those under the capability `ips`; else those of `args.cni`; else IP of CNI_ARGS, as the conventions rank them."""
    config = request.config
    if config.runtime_config.ips:
        return _parsed(config.runtime_config.ips, "runtimeConfig.ips")
    if config.args.cni.ips:
        return _parsed(config.args.cni.ips, "args.cni.ips")
    return _parsed(filter(None, [request.args.get("IP")]), "CNI_ARGS: IP")


def _parsed(texts: Iterable[str], field: str) -> list[IPAddress]:
    """An address may come with a prefix length. Ours are host addresses, whatever it says. Podman's `network reload`
    names a static one twice, as asked for and as given, which is one wish."""
    try:
        return list(dict.fromkeys(ip_interface(text).ip for text in texts))
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, printable(f"{field}: {error}")) from None


def _labels(request: Request) -> dict[str, str]:
    """What names the pod, and the labels of `args.cni`, which win."""
    named = {name: value for name in _LABELS if (value := request.args.get(name))}
    return named | {label.key: label.value for label in request.config.args.cni.labels}


def _port_mapping(position: int, mapping: PortMapping) -> dict[str, object]:
    fields: dict[str, object] = {"host_port": mapping.host_port, "container_port": mapping.container_port}
    if mapping.protocol:
        fields["protocol"] = mapping.protocol.lower()
    if mapping.host_ip:
        fields["host_ip"] = _address(mapping.host_ip, f"runtimeConfig.portMappings[{position}].hostIP")
    return fields


def _dns(request: Request) -> dict[str, object]:
    """What the runtime passes, else what the network's configuration says."""
    config = request.config
    if (dns := config.runtime_config.dns) is not None:
        servers, searches, options, field = dns.servers, dns.searches, dns.options, "runtimeConfig.dns.servers"
    else:
        servers, searches, options = config.dns.nameservers, config.dns.search, config.dns.options
        field = "dns.nameservers"
    return {
        "servers": [_address(server, f"{field}[{position}]") for position, server in enumerate(servers)],
        "searches": searches,
        "options": options,
    }


def _address(text: str, field: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise CniError(Code.INVALID_CONFIG, f"{field}: {text!r} is not an IPv4 or IPv6 address") from None
