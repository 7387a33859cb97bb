"""Models → the answers of `netplumb.v1`. Pure, and on the path of every Attach."""

from __future__ import annotations

import json
from collections.abc import Iterable

from netplumb.api.text import printable
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.bandwidth import NO_LIMITS, Bandwidth
from netplumb.models.events import Event
from netplumb.models.naming import node_if_name
from netplumb.models.networkpolicy import ManifestKey
from netplumb.models.policyviews import NOTHING_DENIED, Answer, Denied, Gain, PolicyDifference, PolicyView
from netplumb.models.ports import PortMapping
from netplumb.models.routing import Dns
from netplumb.models.statefile import Applied, Deleted
from netplumb.models.status import (
    AttachmentView,
    Change,
    CheckReport,
    Comparison,
    Condition,
    Description,
    NodeStatus,
    PlannedChange,
    Traffic,
    Unmet,
    WatchEvent,
)
from netplumb.models.words import address_words

_NO_DNS = Dns()

_CHANGES = {
    Change.PRESENT: pb.WatchResponse.PRESENT,
    Change.SNAPSHOT_COMPLETE: pb.WatchResponse.SNAPSHOT_COMPLETE,
    Change.UPDATED: pb.WatchResponse.UPDATED,
    Change.REMOVED: pb.WatchResponse.REMOVED,
}


def gc_response(removed: Iterable[AttachmentView]) -> pb.GCResponse:
    return pb.GCResponse(removed=[attachment(view) for view in removed])


def apply_response(applied: Iterable[Applied]) -> pb.ApplyResponse:
    return pb.ApplyResponse(
        applied=[
            pb.Applied(
                workload_id=it.key.workload_id if isinstance(it.key, AttachmentKey) else "",
                if_name=it.key.if_name if isinstance(it.key, AttachmentKey) else "",
                manifest=str(it.key) if isinstance(it.key, ManifestKey) else "",
                result=it.result.value,
                changes=map(printable, it.changes),
                waiting=printable(it.waiting),
            )
            for it in applied
        ]
    )


def delete_response(it: Deleted) -> pb.DeleteResponse:
    return pb.DeleteResponse(
        deleted=[_name(key) for key in it.deleted if isinstance(key, AttachmentKey)],
        missing=[_name(key) for key in it.missing if isinstance(key, AttachmentKey)],
        deleted_manifests=[str(key) for key in it.deleted if isinstance(key, ManifestKey)],
        missing_manifests=[str(key) for key in it.missing if isinstance(key, ManifestKey)],
    )


def policies_response(views: Iterable[PolicyView]) -> pb.PoliciesResponse:
    return pb.PoliciesResponse(
        policies=[
            pb.Policy(
                kind=it.manifest.key.kind,
                namespace=it.manifest.key.namespace,
                name=it.manifest.key.name,
                source=printable(it.source),
                in_force=it.in_force,
                manifest=it.manifest.model_dump_json(by_alias=True, exclude_defaults=True),
                selects=map(_name, it.selects),
            )
            for it in views
        ]
    )


def explain_policy_response(it: Answer) -> pb.ExplainPolicyResponse:
    return pb.ExplainPolicyResponse(
        allowed=it.allowed, source=it.source, destination=it.destination, reasons=map(printable, it.reasons)
    )


def diff_policies_response(it: PolicyDifference) -> pb.DiffPoliciesResponse:
    return pb.DiffPoliciesResponse(
        changes=map(_policy_change, it.gains), cut_flows=it.cut, more=it.more, waiting=it.waiting
    )


def _policy_change(it: Gain) -> pb.PolicyChange:
    return pb.PolicyChange(
        source=it.source,
        destination=it.destination,
        allowed=it.allowed,
        protocol=it.protocol,
        first_port=it.first,
        last_port=it.last,
        ip_version=it.version,
    )


def _name(key: AttachmentKey) -> pb.AttachmentName:
    return pb.AttachmentName(workload_id=key.workload_id, if_name=key.if_name)


def attach_response(view: AttachmentView) -> pb.AttachResponse:
    return pb.AttachResponse(ip=view.answered, attachment=attachment(view), warnings=map(printable, view.warnings))


def attachment(view: AttachmentView) -> pb.Attachment:
    record, status = view.attachment, view.status
    spec = record.spec
    return pb.Attachment(
        workload_id=spec.workload_id,
        if_name=spec.if_name,
        netns_path=spec.netns.where,
        container_id=spec.container_id,
        source=printable(record.source),
        addresses=[address_words(address) for address in record.addresses],
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
        policies=view.policies,
        denied=_denied(view.denied),
        namespace=view.attachment.namespace,
        annotations={key: printable(value) for key, value in spec.annotations.items()},
        gateways=view.gateways,
        unmet=map(_unmet, view.unmet),
    )


def _denied(it: Denied) -> pb.DeniedPackets | None:
    return None if it == NOTHING_DENIED else pb.DeniedPackets(ingress=it.ingress, egress=it.egress)


def documented(view: AttachmentView) -> pb.Attachment:
    """With the document that says the wish."""
    made = attachment(view)
    made.document = json.dumps(
        {"kind": "Attachment"} | view.attachment.spec.model_dump(mode="json", exclude_defaults=True)
    )
    return made


def dns(dns: Dns) -> pb.DNS:
    return pb.DNS(servers=[str(server) for server in dns.servers], searches=dns.searches, options=dns.options)


def check_response(report: CheckReport) -> pb.CheckResponse:
    response = _compared(report)
    response.attachment.CopyFrom(attachment(report.view))
    return response


def check_all_response(node: Comparison, reports: Iterable[CheckReport]) -> pb.CheckAllResponse:
    return pb.CheckAllResponse(reports=[_compared(node), *map(check_response, reports)])


def _compared(it: Comparison) -> pb.CheckResponse:
    return pb.CheckResponse(
        in_sync=it.in_sync, differences=_planned_changes(it.differences), unmet=map(_unmet, it.unmet)
    )


def plan_response(compared: Iterable[Comparison]) -> pb.PlanResponse:
    response = pb.PlanResponse()
    for it in compared:
        response.changes.extend(_planned_changes(it.differences))
        response.unmet.extend(map(_unmet, it.unmet))
    return response


def watch_response(event: WatchEvent) -> pb.WatchResponse:
    return pb.WatchResponse(
        change=_CHANGES[event.change],
        attachment=None if event.view is None else attachment(event.view),
    )


def describe_response(found: Iterable[Description]) -> pb.DescribeResponse:
    return pb.DescribeResponse(descriptions=map(_description, found))


def _description(it: Description) -> pb.Description:
    return pb.Description(
        attachment=attachment(it.report.view),
        in_sync=it.report.in_sync,
        objects=[
            pb.DescribedObject(
                where=thing.where.name.lower(), kind=thing.kind, words=printable(thing.words), deviation=thing.deviation
            )
            for thing in it.objects
        ],
        events=map(event, it.events),
        unmet=map(_unmet, it.report.unmet),
    )


def event(it: Event) -> pb.Event:
    return pb.Event(
        number=it.number,
        at=it.at,
        first_at=it.first_at,
        count=it.count,
        kind=it.kind.value,
        workload_id=it.key.workload_id if it.key else "",
        if_name=it.key.if_name if it.key else "",
        message=printable(it.message),
        found=map(printable, it.found),
        done=map(printable, it.done),
        lasted_s=it.lasted_s,
        lasted_at_most=it.at_most,
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
        unmet=map(_unmet, status.unmet),
        unmet_total=status.unmet_total,
        uplinks=[
            pb.Uplink(name=it.name, addresses=[str(ip) for ip in it.addresses], mtu=it.mtu) for it in status.uplinks
        ],
    )


def traffic_response(at: float, traffic: Iterable[Traffic]) -> pb.TrafficResponse:
    return pb.TrafficResponse(
        at=at,
        traffic=[
            pb.Traffic(
                workload_id=it.key.workload_id,
                if_name=it.key.if_name,
                received_bytes=it.received_bytes,
                received_packets=it.received_packets,
                sent_bytes=it.sent_bytes,
                sent_packets=it.sent_packets,
            )
            for it in traffic
        ],
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


def _unmet(it: Unmet) -> pb.Unmet:
    return pb.Unmet(
        workload_id=it.key.workload_id if it.key else "",
        if_name=it.key.if_name if it.key else "",
        source=printable(it.source),
        reason=it.reason,
        message=printable(it.message),
    )


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
