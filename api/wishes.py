"""From a request of `netplumb.v1` to a wish of ours. Pure, and on the path of every Attach.

Requests are judged by the models alone. What pydantic finds wrong is said again in the words of the proto, since that
is what the caller wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from ipaddress import ip_address
from math import isfinite

from pydantic import ValidationError

from netplumb.api.defaults import DEFAULT_IF_NAME
from netplumb.api.mistakes import Location, first_mistake
from netplumb.api.text import printable
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import (
    CNI_SOURCE_PREFIX,
    RPC_SOURCE,
    AttachmentKey,
    AttachmentSpec,
    DetachSpec,
    keepable_annotations,
)
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.base import IPAddress
from netplumb.models.errors import InvalidRequest
from netplumb.models.events import EventQuery
from netplumb.models.policyviews import Asked
from netplumb.models.ports import PORT_MAX, PortMapping
from netplumb.models.routing import Dns
from netplumb.models.selectors import Selector, selector
from netplumb.models.statefile import SUFFIXES, Application, StateFile, WhatIf, is_state_file

# The validators themselves: model_validate would add a Python frame to each call.
_validate_attachment = AttachmentSpec.__pydantic_validator__.validate_python
_validate_detach = DetachSpec.__pydantic_validator__.validate_python

_PROTO_NAMES = {
    "netns": "netns.netns_path",
    "netns_path": "netns.netns_path",
    "if_name": "netns.if_name",
}

_MAPS = frozenset({"labels", "sysctls", "annotations"})
_NESTED_FIELDS = frozenset({*PortMapping.model_fields, *Bandwidth.model_fields, *Dns.model_fields, "dst", "gw"})

_ENTRIES_MAX = {
    name: next(rule.max_length for rule in field.metadata if hasattr(rule, "max_length"))
    for name, field in (*AttachmentSpec.model_fields.items(), *Dns.model_fields.items())
    if name in ("addresses", "labels", "port_mappings", "routes", "sysctls", "servers")
}
"""Of these, none is looked at where there are too many: a request has room for half a million, and pydantic words a
mistake for every one before it counts them."""


def attachment_spec(request: pb.AttachRequest) -> AttachmentSpec:
    """The wish in a request; InvalidRequest names the first field that is wrong."""
    netns = request.netns
    if not netns.netns_path:
        raise InvalidRequest("netns.netns_path", "must not be empty")
    for field in ("addresses", "labels", "port_mappings", "routes", "sysctls"):
        _check_count(getattr(request, field), field)
    wish: dict[str, object] = {
        "workload_id": request.workload_id,
        "netns": {"path": netns.netns_path},
        "if_name": netns.if_name or DEFAULT_IF_NAME,
        "container_id": request.container_id,
        "mtu": request.mtu,
        "allow_foreign_address": request.allow_foreign_address,
    }
    if request.addresses:
        wish["addresses"] = _addresses(request.addresses)
    if request.mac:
        wish["mac"] = request.mac
    if request.labels:
        wish["labels"] = dict(request.labels)
    if request.namespace:
        wish["namespace"] = request.namespace
    if request.port_mappings:
        wish["port_mappings"] = [_port_mapping(n, mapping) for n, mapping in enumerate(request.port_mappings)]
    if request.HasField("bandwidth"):
        wish["bandwidth"] = {name: getattr(request.bandwidth, name) for name in Bandwidth.model_fields}
    if request.HasField("dns"):
        dns = request.dns
        _check_count(dns.servers, "dns.servers")
        servers = _addresses(dns.servers, "dns.servers")
        wish["dns"] = {"servers": servers, "searches": tuple(dns.searches), "options": tuple(dns.options)}
    if request.routes:
        wish["routes"] = [_route(n, route) for n, route in enumerate(request.routes)]
    if request.pool:
        wish["pool"] = request.pool
    if request.sysctls:
        wish["sysctls"] = dict(request.sysctls)
    if request.annotations:
        wish["annotations"] = keepable_annotations(request.annotations)
    for switch in ("default_route", "isolate_node", "isolate_workloads"):
        if request.HasField(switch):
            wish[switch] = getattr(request, switch)
    try:
        spec: AttachmentSpec = _validate_attachment(wish)
    except ValidationError as error:
        raise _in_proto_words(error) from None
    return spec


def detach_spec(request: pb.DetachRequest) -> DetachSpec:
    """The wish in a request; InvalidRequest names the first field that is wrong."""
    netns = request.netns
    wish = {
        "workload_id": request.workload_id,
        "if_name": netns.if_name or DEFAULT_IF_NAME,
        "container_id": request.container_id,
    }
    if netns.netns_path:
        wish["netns_path"] = netns.netns_path
    try:
        spec: DetachSpec = _validate_detach(wish)
    except ValidationError as error:
        raise _in_proto_words(error) from None
    return spec


def what_if(request: pb.PlanRequest) -> WhatIf:
    """The wish to plan for, None for the whole node."""
    match request.WhichOneof("what_if"):
        case "attach":
            return attachment_spec(request.attach)
        case "detach":
            return detach_spec(request.detach)
        case "files":
            return _state_files(request.files.files)
        case "apply":
            return application(request.apply)
        case _:
            return None


def _state_files(files: Sequence[pb.StateFile]) -> tuple[StateFile, ...]:
    found: dict[str, StateFile] = {}
    for position, it in enumerate(files):
        field = f"files.files[{position}].name"
        if "/" in it.name or not it.name.isprintable() or not is_state_file(it.name):
            suffixes = ", ".join(SUFFIXES)
            raise InvalidRequest(field, f"{it.name[:300]!r} is no name of a state file: they end in {suffixes}")
        if it.name in found:
            raise InvalidRequest(field, f"{it.name} is given twice")
        found[it.name] = StateFile(it.name, it.content)
    if not found:
        raise InvalidRequest("files.files", "must not be empty")
    return tuple(found.values())


def application(request: pb.ApplyRequest) -> Application:
    return Application(documents(request.files.files), request.prune)


def documents(files: Iterable[pb.StateFile]) -> tuple[StateFile, ...]:
    """Files whose names are for messages alone."""
    return tuple(StateFile(printable(it.name), it.content) for it in files)


def deleted_keys(request: pb.DeleteRequest) -> tuple[AttachmentKey, ...]:
    if (nameless := next((n for n, it in enumerate(request.names) if not it.workload_id), None)) is not None:
        raise InvalidRequest(f"names[{nameless}].workload_id", "must not be empty")
    return tuple(AttachmentKey(it.workload_id, it.if_name or DEFAULT_IF_NAME) for it in request.names)


def policy_question(request: pb.ExplainPolicyRequest) -> Asked:
    for name, end in (("source", request.source), ("destination", request.destination)):
        if not end:
            raise InvalidRequest(name, "must not be empty")
    if request.port > PORT_MAX:
        raise InvalidRequest("port", f"{request.port} is not within 0 to {PORT_MAX}")
    return Asked(request.source, request.destination, request.protocol or "tcp", request.port)


def attachment_key(request: pb.GetRequest | pb.CheckRequest | pb.DescribeRequest) -> AttachmentKey:
    if not request.workload_id:
        raise InvalidRequest("workload_id", "must not be empty")
    return AttachmentKey(request.workload_id, request.if_name or DEFAULT_IF_NAME)


def label_selector(request: pb.ListRequest | pb.WatchRequest | pb.TrafficRequest) -> Selector:
    try:
        return selector(request.selector)
    except ValueError as error:
        raise InvalidRequest("selector", str(error)) from None


def event_query(request: pb.EventsRequest) -> EventQuery:
    if not isfinite(request.since):
        raise InvalidRequest("since", f"{request.since} is no time")
    return EventQuery(request.about, request.since, request.most)


def gc_request(request: pb.GCRequest) -> tuple[str, frozenset[AttachmentKey]]:
    """Whose attachments are collected, and the (container_id, if_name) that live. A missing list is a mistake."""
    if not request.HasField("alive"):
        raise InvalidRequest("alive", "is missing; an empty list detaches all, so it must be said")
    source = request.source or RPC_SOURCE
    if source != RPC_SOURCE and source.removeprefix(CNI_SOURCE_PREFIX) in ("", source):
        raise InvalidRequest("source", f"{source[:300]!r} is neither rpc nor cni/<network>")
    alive = request.alive.interfaces
    if (nameless := next((n for n, it in enumerate(alive) if not it.container_id), None)) is not None:
        raise InvalidRequest(f"alive.interfaces[{nameless}].container_id", "must not be empty")
    return source, frozenset(AttachmentKey(it.container_id, it.if_name or DEFAULT_IF_NAME) for it in alive)


def _check_count(entries: Sized, field: str) -> None:
    if len(entries) > (most := _ENTRIES_MAX[field.rpartition(".")[2]]):
        raise InvalidRequest(field, f"has more than {most} entries")


def _addresses(texts: Iterable[str], field: str = "addresses") -> tuple[IPAddress, ...]:
    return tuple(_address(text, f"{field}[{position}]") for position, text in enumerate(texts))


def _address(text: str, field: str) -> IPAddress:
    """Parsed here and not by pydantic, which would report a wrong one twice, once for each family."""
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidRequest(field, f"{text!r} is not an IPv4 or IPv6 address") from None


def _port_mapping(position: int, mapping: pb.PortMapping) -> dict[str, object]:
    fields: dict[str, object] = {
        "host_port": mapping.host_port,
        "container_port": mapping.container_port,
        "host_port_end": mapping.host_port_end,
    }
    if mapping.protocol:
        fields["protocol"] = mapping.protocol.lower()
    if mapping.host_ip:
        fields["host_ip"] = _address(mapping.host_ip, f"port_mappings[{position}].host_ip")
    return fields


def _route(position: int, route: pb.Route) -> dict[str, object]:
    gw = _address(route.gw, f"routes[{position}].gw") if route.gw else None
    return {"dst": route.dst, "gw": gw}


def _in_proto_words(error: ValidationError) -> InvalidRequest:
    """The first of the mistakes that pydantic found."""
    location, message = first_mistake(error)
    # A rule over several fields begins its message with the field that it blames.
    return InvalidRequest(_field(location) if location else "", message)


def _field(location: Location) -> str:
    name, *inner = location
    words = _PROTO_NAMES.get(str(name), str(name))
    if name in _MAPS and inner:
        return f"{words}[{inner[0]!r}]"
    for part in inner:
        if isinstance(part, int):
            words += f"[{part}]"
        elif part in _NESTED_FIELDS:  # the rest of the location names types, in pydantic's words
            words += f".{part}"
    return words
