"""Between the messages of `netplumb.v1` and the models. Pure; both directions are on the path of every Attach.

Requests are judged by the models alone. What pydantic finds wrong is said again in the words of the proto, since that
is what the caller wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from pydantic import ValidationError

from api.defaults import DEFAULT_IF_NAME
from api.text import printable
from api.v1 import netplumb_pb2 as pb
from models.attachment import AttachmentKey, AttachmentSpec, DetachSpec, IPAddress
from models.errors import InvalidRequest
from models.naming import node_if_name
from models.status import AttachmentView, Change, CheckReport, Condition, NodeStatus, PlannedChange, WatchEvent

# The validators themselves: model_validate would add a Python frame to each call.
_validate_attachment = AttachmentSpec.__pydantic_validator__.validate_python
_validate_detach = DetachSpec.__pydantic_validator__.validate_python

_PROTO_NAMES = {
    "netns": "netns.netns_path",
    "netns_path": "netns.netns_path",
    "if_name": "netns.if_name",
}

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
    )


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


def _addresses(texts: Iterable[str]) -> tuple[IPAddress, ...]:
    """Parsed here and not by pydantic, which would report a wrong one twice, once for each family."""
    addresses = []
    for position, text in enumerate(texts):
        try:
            addresses.append(ip_address(text))
        except ValueError:
            raise InvalidRequest(f"addresses[{position}]", f"{text!r} is not an IPv4 or IPv6 address") from None
    return tuple(addresses)


def _in_proto_words(error: ValidationError) -> InvalidRequest:
    """The first of the mistakes that pydantic found."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    context = mistake.get("ctx", {})
    match mistake["type"]:
        case "value_error":
            message = str(context["error"])
        case "string_too_long":
            message = f"is longer than {context['max_length']} characters"
        case "string_too_short":
            message = "must not be empty"
        case "too_long":
            message = f"has more than {context['max_length']} entries"
        case _:
            message = mistake["msg"]
    if not mistake["loc"]:  # a rule over several fields begins its message with the field that it blames
        return InvalidRequest("", message)
    return InvalidRequest(_field(mistake["loc"]), message)


def _field(location: tuple[int | str, ...]) -> str:
    name, *inner = location
    words = _PROTO_NAMES.get(str(name), str(name))
    if name == "labels" and inner:
        return f"{words}[{inner[0]!r}]"
    if inner and isinstance(inner[0], int):
        return f"{words}[{inner[0]}]"
    return words
