"""Answers for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from rich.text import Text

from netplumb.api.cli.layout import Columns, Fields, Laid
from netplumb.api.text import NO_UPLINK
from netplumb.api.v1 import netplumb_pb2 as pb

PHASE_STYLES = {"Attached": "green", "Pending": "yellow", "Retrying": "yellow", "Detaching": "yellow"}
VERB_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def attachments(found: Sequence[pb.Attachment], *, wide: bool = False) -> Laid:
    """Where all is as wished, there is no column for reasons."""
    reasons = ("REASON",) if any(it.unmet for it in found) else ()
    more = ("LABELS", "PORTS", "LIMITS", "MAC", "DENIED") if wide else ()
    table = Columns(
        ("WORKLOAD", "INTERFACE", "PHASE", "ADDRESSES", "SOURCE", "NODE INTERFACE", "NETNS", *more, *reasons)
    )
    for it in found:
        table.add_row(
            it.workload_id,
            it.if_name,
            _phase(it.phase),
            " ".join(it.addresses),
            it.source,
            it.node_if_name,
            it.netns_path,
            *(_more(it) if wide else ()),
            *(("; ".join(map(unmet, it.unmet)),) if reasons else ()),
        )
    return table


def _more(it: pb.Attachment) -> Iterator[str]:
    yield labels(it)
    yield ", ".join(map(port_mapping, it.port_mappings))
    yield ", ".join(_limits(it.bandwidth))
    yield it.mac
    yield ", ".join(_denied(it))


def _denied(it: pb.Attachment) -> Iterator[str]:
    """What its policies denied of what was sent to it, and of what it sent."""
    if it.denied.HasField("ingress"):
        yield f"to it {it.denied.ingress}"
    if it.denied.HasField("egress"):
        yield f"from it {it.denied.egress}"


def labels(it: pb.Attachment) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(it.labels.items()))


def attachment(it: pb.Attachment) -> Laid:
    """Every field, and the conditions below."""
    return _fields(
        ("workload", it.workload_id),
        ("interface", it.if_name),
        ("phase", _phase(it.phase)),
        ("not as wished", "\n".join(map(unmet, it.unmet))),
        ("addresses", " ".join(it.addresses)),
        ("mac", it.mac),
        ("mtu", str(it.mtu or "the node's")),
        ("netns", it.netns_path),
        ("node interface", it.node_if_name),
        ("source", it.source),
        ("container id", it.container_id),
        ("gateways", " ".join(it.gateways)),
        ("namespace", it.namespace),
        ("policies", " ".join(it.policies)),
        ("denied packets", ", ".join(_denied(it))),
        ("default route", "yes" if it.default_route else "no"),
        ("routes", " ".join(route.dst for route in it.routes)),
        ("pool", it.pool),
        ("ports", "\n".join(port_mapping(mapping) for mapping in it.port_mappings)),
        ("bandwidth", "\n".join(_limits(it.bandwidth))),
        ("isolated from", " ".join(_isolation(it))),
        ("sysctls", " ".join(f"{name}={value}" for name, value in sorted(it.sysctls.items()))),
        ("dns servers", " ".join(it.dns.servers)),
        ("dns searches", " ".join(it.dns.searches)),
        ("dns options", " ".join(it.dns.options)),
        ("annotations", "\n".join(f"{key}={value}" for key, value in sorted(it.annotations.items()))),
        ("labels", labels(it)),
        ("generation", f"{it.generation}, observed {it.observed_generation}"),
        ("retries", str(it.retries)),
        ("repairs", str(it.repairs)),
        *((f"condition {c.type}", condition(c)) for c in it.conditions),
    )


def port_mapping(it: pb.PortMapping) -> str:
    """As it is written on the command line."""
    where = f"[{it.host_ip}]:" if ":" in it.host_ip else f"{it.host_ip}:" if it.host_ip else ""
    host, inner = str(it.host_port), str(it.container_port)
    if it.host_port_end > it.host_port:
        host += f"-{it.host_port_end}"
        inner += f"-{it.container_port + it.host_port_end - it.host_port}"
    return f"{where}{host} -> {inner}/{it.protocol}"


def _limits(it: pb.Bandwidth) -> Iterator[str]:
    for way, rate, burst in (
        ("receives", it.ingress_rate, it.ingress_burst),
        ("sends", it.egress_rate, it.egress_burst),
    ):
        if rate:
            yield f"{way} {_bits(rate)}bit/s, burst {_bits(burst)}bit"


def _bits(number: int) -> str:
    """With a decimal suffix where it is exact."""
    for factor, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number and number % factor == 0:
            return f"{number // factor} {suffix}"
    return f"{number} "


def _isolation(it: pb.Attachment) -> Iterator[str]:
    if it.isolate_node:
        yield "node"
    if it.isolate_workloads:
        yield "workloads"


def status(answer: pb.StatusResponse) -> list[Laid]:
    counters = answer.counters
    tables: list[Laid] = [
        _fields(
            ("ready", Text("yes", "green") if answer.ready else Text("no", "red")),
            ("version", answer.version),
            ("started", _moment(answer.started_at)),
            ("uplinks", "\n".join(_uplinks(answer.uplinks))),
            ("attachments", _counts(answer.phases.items())),
            ("not as wished", "\n".join(_named_unmet(answer))),
            ("queue", f"{answer.queue_length} waiting, the oldest for {answer.queue_age_s:.3f} s"),
            ("last slice", _moment(answer.last_slice_at)),
            ("passes", str(counters.passes)),
            ("repairs", _counts(counters.repairs.items())),
            ("retries", str(counters.retries)),
            ("resyncs", str(counters.resyncs)),
            ("events", f"{counters.events}, lost {counters.lost_events} times"),
            *((f"condition {c.type}", condition(c)) for c in answer.conditions),
        )
    ]
    if not answer.pools:
        tables.append(_fields(("pools", "none, so that each attachment has to state its addresses")))
    else:
        pools = Columns(("POOL", "HELD", "SIZE"))
        for pool in answer.pools:
            pools.add_row(pool.name, str(pool.held), pool.size)
        tables.append(pools)
    return tables


def _uplinks(found: Sequence[pb.Uplink]) -> Iterator[str]:
    if not found:
        yield f"none: {NO_UPLINK}"
    for it in found:
        yield " ".join([it.name, *it.addresses]) + (f", MTU {it.mtu}" if it.mtu else "")


def in_the_way(conditions: Iterable[pb.Condition], told: Collection[str]) -> list[Text]:
    """What holds of the node and may be in the way of a workload, less what was told as a reason already."""
    return [
        Text.assemble(f"  {it.type}: ", (it.message, "yellow"))
        for it in conditions
        if it.status and it.message and it.type not in told
    ]


def without_uplink(node: pb.StatusResponse) -> list[Text]:
    """That no workload reaches anybody beyond the node, where that is so."""
    return [] if node.uplinks else [Text.assemble("  no uplink: ", (NO_UPLINK, "yellow"))]


def unmet(it: pb.Unmet) -> str:
    return f"{it.reason}: {it.message}" if it.message else it.reason


def _named_unmet(answer: pb.StatusResponse) -> Iterator[str]:
    for it in answer.unmet:
        yield f"{_whose(it.workload_id, it.if_name)}: {unmet(it)}"
    if (more := answer.unmet_total - len(answer.unmet)) > 0:
        yield f"and {more} more; `netplumb check` tells all"


def _whose(workload_id: str, if_name: str) -> str:
    return f"{workload_id}/{if_name}" if workload_id else "node"


def differences(changes: Iterable[pb.PlannedChange], reasons: Iterable[pb.Unmet]) -> list[Text]:
    """Under the node or the attachment that it belongs to, why it is not as wished and what would be changed, a line
    each."""
    lines: dict[str, list[Text]] = {}
    told: list[tuple[pb.PlannedChange | pb.Unmet, Text]] = [
        *((it, Text(f"! {unmet(it)}", "red")) for it in reasons),
        *((it, Text(f"{it.verb} {it.words}", VERB_STYLES.get(it.verb, ""))) for it in changes),
    ]
    for it, line in sorted(told, key=lambda pair: (pair[0].workload_id, pair[0].if_name)):
        lines.setdefault(_whose(it.workload_id, it.if_name), []).append(line)
    return [line for whose, group in lines.items() for line in (Text(f"{whose}:", "bold"), *group)]


def checked(answer: pb.CheckResponse) -> list[Text]:
    """One line if all is well, else why not, and the diff that would make it so."""
    if answer.in_sync:
        return [
            Text.assemble(f"{_whose(answer.attachment.workload_id, answer.attachment.if_name)}: ", ("in sync", "green"))
        ]
    return differences(answer.differences, answer.unmet)


def event(answer: pb.WatchResponse) -> Text:
    change = pb.WatchResponse.Change.Name(answer.change)
    if answer.change == pb.WatchResponse.SNAPSHOT_COMPLETE:
        return Text(change, "dim")
    it = answer.attachment
    return Text.assemble(
        f"{change:<7} {it.workload_id}/{it.if_name} ",
        _phase(it.phase),
        *(f" {address}" for address in it.addresses),
        *(f" {unmet(reason)}" for reason in it.unmet),
    )


def condition(it: pb.Condition) -> str:
    words = [str(it.status).lower()]
    if it.reason:
        words.append(it.reason)
    if it.message:
        words.append(f"({it.message})")
    return " ".join([*words, f"since {_moment(it.last_transition)}"])


def _fields(*rows: tuple[str, str | Text]) -> Fields:
    """Those that hold something."""
    return Fields([(name, value) for name, value in rows if value])


def _phase(phase: str) -> Text:
    return Text(phase, PHASE_STYLES.get(phase, "red"))


def _counts(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts)) or "0"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds") if seconds else "never"
