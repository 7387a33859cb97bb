"""What an ADD answers, and whether a CHECK's result still holds. Pure.

What the plugins before us did stands first in the answer; ours follows, and counts its interfaces from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from typing import Any

from netplumb.api.cni.config import Result
from netplumb.api.cni.request import Request
from netplumb.api.cni.spec import number
from netplumb.models.base import IPAddress
from netplumb.models.kernel import FIRST_HOP_MAC, FIRST_HOP_V4, FIRST_HOP_V6
from netplumb.models.naming import ifb_name, node_if_name
from netplumb.models.status import IPV6_DISABLED, OFF_IN_WORKLOAD, AttachmentView
from netplumb.models.words import ip_words

_NOTHING = Result()
_WORKLOAD_END = 1  # its place among our interfaces, to which the addresses refer
_FIRST_HOPS = {4: ip_words(FIRST_HOP_V4), 6: ip_words(FIRST_HOP_V6)}
_IPS_WITHOUT_VERSION = number("1.0.0")
_INTERFACES_WITH_MTU = number("1.1.0")


def add_result(request: Request, view: AttachmentView) -> dict[str, Any]:
    """The result object, in the version that the runtime speaks."""
    version = number(request.config.cni_version)
    before = request.config.prev_result or _NOTHING
    passed_on = before.model_dump(by_alias=True, exclude_unset=True)
    interfaces = list(_interfaces(request, view, with_mtu=version >= _INTERFACES_WITH_MTU))
    ours = len(before.interfaces) + _WORKLOAD_END
    ips = [_ip(address, ours, with_version=version < _IPS_WITHOUT_VERSION) for address in _answered(view)]
    return passed_on | {
        "cniVersion": request.config.cni_version,
        "interfaces": [*passed_on.get("interfaces", ()), *interfaces],
        "ips": [*passed_on.get("ips", ()), *ips],
        "routes": [*passed_on.get("routes", ()), *_routes(view)],
        "dns": _dns(request, view) or before.dns,
    }


def _answered(view: AttachmentView) -> Iterator[IPAddress]:
    return (ip_address(packed) for packed in view.answered)


def _interfaces(request: Request, view: AttachmentView, *, with_mtu: bool) -> Iterator[dict[str, Any]]:
    """The node's end, the workload's, and the one on the node that shapes what the workload sends."""
    mtu = {"mtu": view.attachment.spec.mtu} if with_mtu and view.attachment.spec.mtu else {}
    yield {"name": node_if_name(view.key), "mac": FIRST_HOP_MAC.hex(":"), **mtu}
    yield {"name": view.key.if_name, "mac": view.attachment.mac, **mtu, "sandbox": request.netns}
    if view.attachment.spec.bandwidth.egress_rate:
        yield {"name": ifb_name(view.key), **mtu}


def _ip(address: IPAddress, interface: int, *, with_version: bool) -> dict[str, Any]:
    version = {"version": str(address.version)} if with_version else {}
    gateway = _FIRST_HOPS[address.version]
    return {**version, "interface": interface, "address": f"{address}/{address.max_prefixlen}", "gateway": gateway}


def _routes(view: AttachmentView) -> Iterator[dict[str, str]]:
    versions = {address.version for address in _answered(view)}
    for version, dst in ((4, "0.0.0.0/0"), (6, "::/0")):
        if version in versions and view.default_route:
            yield {"dst": dst, "gw": _FIRST_HOPS[version]}
    for route in view.attachment.spec.routes:
        if route.dst.version in versions:
            yield {"dst": str(route.dst), "gw": _FIRST_HOPS[route.dst.version]}


def _dns(request: Request, view: AttachmentView) -> dict[str, Any]:
    dns = view.attachment.spec.dns
    found = {
        "nameservers": [str(server) for server in dns.servers],
        "domain": request.config.dns.domain,
        "search": list(dns.searches),
        "options": list(dns.options),
    }
    return {name: value for name, value in found.items() if value}


def missing(request: Request, expected: Result, view: AttachmentView) -> str:
    """What the result that an ADD gave says of our interface and does not hold any more, in words; empty if all does.

    Addresses that a later plugin gave the interface are not ours to judge, nor a family that it switched off.
    """
    place = next(
        (n for n, it in enumerate(expected.interfaces) if it.name == request.if_name and it.sandbox == request.netns),
        None,
    )
    if place is None:
        return f"prevResult has no interface {request.if_name} in {request.netns}"
    listed = {_listed(ip.address) for ip in expected.ips if ip.interface in (place, None)}
    answered = set(_answered(view))
    if new := sorted(map(str, answered - listed)):
        return f"the address is {', '.join(new)} now, which prevResult does not have"
    off = view.status.condition(IPV6_DISABLED)
    if off is not None and off.reason == OFF_IN_WORKLOAD:
        return ""
    if gone := sorted(map(str, listed & set(view.attachment.addresses) - answered)):
        return f"the address {', '.join(gone)} of prevResult is not in force"
    return ""


def _listed(text: str) -> IPAddress | None:
    try:
        return ip_interface(text).ip
    except ValueError:
        return None
