"""Between the messages of `netplumb.v1` and the models. Pure; both directions are on the path of every Attach.

Requests are judged by the models alone. What pydantic finds wrong is said again in the words of the proto, since that
is what the caller wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from pydantic import ValidationError

from api.defaults import DEFAULT_IF_NAME
from api.mistakes import Location, first_mistake
from api.text import printable
from api.v1 import netplumb_pb2 as pb
from models.attachment import CNI_SOURCE_PREFIX, LABEL_KEY_MAX, RPC_SOURCE, AttachmentKey, AttachmentSpec, DetachSpec
from models.bandwidth import NO_LIMITS, Bandwidth
from models.base import IPAddress
from models.errors import InvalidRequest
from models.naming import node_if_name
from models.ports import PortMapping
from models.routing import Dns
from models.status import AttachmentView, Change, CheckReport, Condition, NodeStatus, PlannedChange, WatchEvent

# The validators themselves: model_validate would add a Python frame to each call.
_validate_attachment = AttachmentSpec.__pydantic_validator__.validate_python
_validate_detach = DetachSpec.__pydantic_validator__.validate_python

_PROTO_NAMES = {
    "netns": "netns.netns_path",
    "netns_path": "netns.netns_path",
    "if_name": "netns.if_name",
}

_NO_DNS = Dns()
_MAPS = frozenset({"labels", "sysctls", "annotations"})
_NESTED_FIELDS = frozenset({*PortMapping.model_fields, *Bandwidth.model_fields, *Dns.model_fields, "dst", "gw"})

_CHANGES = {
    Change.PRESENT: pb.WatchResponse.PRESENT,
    Change.SNAPSHOT_COMPLETE: pb.WatchResponse.SNAPSHOT_COMPLETE,
    Change.UPDATED: pb.WatchResponse.UPDATED,
    Change.REMOVED: pb.WatchResponse.REMOVED,
}


def attachment_spec(request: pb.AttachRequest) -> AttachmentSpec:
    """The wish in a request; InvalidRequest names the first field that is wrong."""
    netns = request.netns
    if not netns.netns_path:
        raise InvalidRequest("netns.netns_path", "must not be empty")
    wish: dict[str, object] = {
        "workload_id": request.workload_id,
        "netns": {"path": netns.netns_path},
        "if_name": netns.if_name or DEFAULT_IF_NAME,
        "container_id": request.container_id,
        "mtu": request.mtu,
    }
    if request.addresses:
        wish["addresses"] = _addresses(request.addresses)
    if request.mac:
        wish["mac"] = request.mac
    if request.labels:
        wish["labels"] = dict(request.labels)
    if request.port_mappings:
        wish["port_mappings"] = [_port_mapping(n, mapping) for n, mapping in enumerate(request.port_mappings)]
    if request.HasField("bandwidth"):
        wish["bandwidth"] = {name: getattr(request.bandwidth, name) for name in Bandwidth.model_fields}
    if request.HasField("dns"):
        dns = request.dns
        servers = _addresses(dns.servers, "dns.servers")
        wish["dns"] = {"servers": servers, "searches": tuple(dns.searches), "options": tuple(dns.options)}
    if request.routes:
        wish["routes"] = [_route(n, route) for n, route in enumerate(request.routes)]
    if request.pool:
        wish["pool"] = request.pool
    if request.sysctls:
        wish["sysctls"] = dict(request.sysctls)
    if request.annotations:
        # People write what they like there. What could not be kept is left out, and fails nothing.
        wish["annotations"] = {
            key: value
            for key, value in request.annotations.items()
            if 0 < len(key) <= LABEL_KEY_MAX and key.isprintable()
        }
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


def what_if(request: pb.PlanRequest) -> AttachmentSpec | DetachSpec | None:
    """The wish to plan for, None for the whole node."""
    match request.WhichOneof("what_if"):
        case "attach":
            return attachment_spec(request.attach)
        case "detach":
            return detach_spec(request.detach)
        case _:
            return None


def attachment_key(request: pb.GetRequest | pb.CheckRequest) -> AttachmentKey:
    if not request.workload_id:
        raise InvalidRequest("workload_id", "must not be empty")
    return AttachmentKey(request.workload_id, request.if_name or DEFAULT_IF_NAME)


def gc_request(request: pb.GCRequest) -> tuple[str, frozenset[AttachmentKey]]:
    """Whose attachments are collected, and the (container_id, if_name) that live. A missing list is a mistake."""
    if not request.HasField("alive"):
        raise InvalidRequest("alive", "is missing; an empty list detaches all, so it must be said")
    source = request.source or RPC_SOURCE
    if source != RPC_SOURCE and not source.startswith(CNI_SOURCE_PREFIX):
        raise InvalidRequest("source", f"{source[:300]!r} is neither rpc nor cni/<network>")
    alive = request.alive.interfaces
    return source, frozenset(AttachmentKey(it.container_id, it.if_name or DEFAULT_IF_NAME) for it in alive)


def gc_response(removed: Iterable[AttachmentView]) -> pb.GCResponse:
    return pb.GCResponse(removed=[attachment(view) for view in removed])


def attach_response(view: AttachmentView) -> pb.AttachResponse:
    return pb.AttachResponse(ip=view.answered, attachment=attachment(view))


def attachment(view: AttachmentView) -> pb.Attachment:
    record, status = view.attachment, view.status
    spec = record.spec
    return pb.Attachment(
        workload_id=spec.workload_id,
        if_name=spec.if_name,
        netns_path=spec.netns.where,
        container_id=spec.container_id,
        source=printable(record.source),
        addresses=[str(address) for address in record.addresses],
        mac=record.mac,
        mtu=spec.mtu,
        labels=spec.labels,
        generation=record.generation,
        observed_generation=status.observed_generation,
        phase=status.phase.value,
        conditions=_conditions(status.conditions),
        retries=status.retries,
        repairs=status.repairs,
        node_if_name=node_if_name(spec.key),
        port_mappings=[port_mapping(mapping) for mapping in spec.port_mappings],
        bandwidth=bandwidth(view.bandwidth) if spec.bandwidth != NO_LIMITS else None,
        dns=dns(spec.dns) if spec.dns != _NO_DNS else None,
        routes=[pb.Route(dst=str(route.dst), gw=str(route.gw or "")) for route in spec.routes],
        pool=spec.pool,
        sysctls={name.replace("/", "."): value for name, value in spec.sysctls.items()},
        default_route=view.default_route,
        isolate_node=view.isolate_node,
        isolate_workloads=view.isolate_workloads,
        annotations={key: printable(value) for key, value in spec.annotations.items()},
        gateways=view.gateways,
    )


def dns(dns: Dns) -> pb.DNS:
    return pb.DNS(servers=[str(server) for server in dns.servers], searches=dns.searches, options=dns.options)


def check_response(report: CheckReport) -> pb.CheckResponse:
    return pb.CheckResponse(
        in_sync=report.in_sync,
        differences=_planned_changes(report.differences),
        attachment=attachment(report.view),
    )


def plan_response(changes: Iterable[PlannedChange]) -> pb.PlanResponse:
    return pb.PlanResponse(changes=_planned_changes(changes))


def watch_response(event: WatchEvent) -> pb.WatchResponse:
    return pb.WatchResponse(
        change=_CHANGES[event.change],
        attachment=None if event.view is None else attachment(event.view),
    )


def status_response(status: NodeStatus) -> pb.StatusResponse:
    counters = status.counters
    return pb.StatusResponse(
        ready=status.ready,
        version=status.version,
        started_at=status.started_at,
        conditions=_conditions(status.conditions),
        pools=[pb.PoolUsage(name=pool.name, held=pool.held, size=str(pool.size)) for pool in status.pools],
        phases=status.phases,
        counters=pb.Counters(
            passes=counters.passes,
            repairs=counters.repairs,
            retries=counters.retries,
            resyncs=counters.resyncs,
            events=counters.events,
            lost_events=counters.lost_events,
        ),
        queue_length=status.queue_length,
        queue_age_s=status.queue_age_s,
        last_slice_at=status.last_slice_at,
    )


def _conditions(conditions: Iterable[Condition]) -> list[pb.Condition]:
    return [
        pb.Condition(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=printable(condition.message),
            last_transition=condition.last_transition,
        )
        for condition in conditions
    ]


def _planned_changes(changes: Iterable[PlannedChange]) -> list[pb.PlannedChange]:
    return [
        pb.PlannedChange(
            workload_id=change.key.workload_id if change.key else "",
            if_name=change.key.if_name if change.key else "",
            verb=change.verb,
            kind=change.kind,
            words=printable(change.words),
        )
        for change in changes
    ]


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


def port_mapping(mapping: PortMapping) -> pb.PortMapping:
    return pb.PortMapping(
        host_port=mapping.host_port,
        container_port=mapping.container_port,
        protocol=mapping.protocol.value,
        host_ip=str(mapping.host_ip) if mapping.host_ip is not None else "",
        host_port_end=mapping.host_port_end,
    )


def bandwidth(limits: Bandwidth) -> pb.Bandwidth:
    return pb.Bandwidth(
        ingress_rate=limits.ingress_rate,
        ingress_burst=limits.ingress_burst,
        egress_rate=limits.egress_rate,
        egress_burst=limits.egress_burst,
    )


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
