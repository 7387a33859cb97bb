"""PURE: a reading → the families of metrics, named as Prometheus wants them (seconds, bytes, `_total`).

Labels take few values: phases, kinds, pools, rules and types of conditions. Only traffic is told by workload, and only
where that was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from netplumb.models.naming import node_if_name
from netplumb.models.policyset import direction_of
from netplumb.models.status import NodeStatus, Phase
from netplumb.reconciler.metrics.reading import Counted, Read
from netplumb.reconciler.status.tally import BOUNDS_S, Distribution


def families(counted: Counted, read: Read) -> Iterator[Metric]:
    yield from _node(counted.status)
    yield from _attachments(counted)
    yield from _durations(counted)
    yield from _totals(counted)
    yield from _pools(counted.status)
    yield from _read(counted, read)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"netplumb_{name}", words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"netplumb_{name}", words, value=value)


def _by(metric: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    """One sample for each value of the metric's one label."""
    for label, value in values.items():
        metric.add_metric([label], value)
    return metric


def _node(status: NodeStatus) -> Iterator[Metric]:
    info = GaugeMetricFamily("netplumb_build_info", "The daemon's version, its value always 1.", labels=["version"])
    yield _by(info, {status.version: 1})
    yield _gauge("start_time_seconds", "When the daemon started, in seconds since the epoch.", status.started_at)
    yield _gauge("ready", "Whether the node's own objects are in the kernel and the daemon serves.", status.ready)
    words = "Conditions of the node as `netplumb status` tells them, by type: 1 where the condition holds."
    conditions = GaugeMetricFamily("netplumb_condition", words, labels=["type"])
    yield _by(conditions, {condition.type: condition.status for condition in status.conditions})
    yield _gauge("queue_length", "Attachments that wait for a pass.", status.queue_length)
    yield _gauge("queue_oldest_age_seconds", "How long the oldest of them has waited.", status.queue_age_s)
    words = "When the loop last completed a slice, in seconds since the epoch."
    yield _gauge("last_slice_timestamp_seconds", words, status.last_slice_at)


def _attachments(counted: Counted) -> Iterator[Metric]:
    attachments = GaugeMetricFamily("netplumb_attachments", "Attachments by phase.", labels=["phase"])
    yield _by(attachments, {phase.value: counted.status.phases.get(phase.value, 0) for phase in Phase})
    ports = Counter(mapping.protocol.value for it in counted.attachments for mapping in it.spec.port_mappings)
    mappings = GaugeMetricFamily("netplumb_port_mappings", "Port mappings by protocol.", labels=["protocol"])
    yield _by(mappings, {protocol: ports[protocol] for protocol in ("tcp", "udp", "sctp")})


def _durations(counted: Counted) -> Iterator[Metric]:
    for name, words, distribution in (
        ("attach", "How long attaches took that succeeded, from the request to the answer.", counted.attaching),
        ("detach", "How long detaches took that succeeded and had something to do.", counted.detaching),
        ("resync", "How long full comparisons with the kernel took.", counted.resyncing),
    ):
        metric = HistogramMetricFamily(f"netplumb_{name}_duration_seconds", words)
        yield _observed(metric, {(): distribution})
    passes = HistogramMetricFamily(
        "netplumb_pass_duration_seconds", "How long passes took, over an attachment or over the node.", labels=["scope"]
    )
    yield _observed(passes, {("attachment",): counted.passing, ("node",): counted.passing_node})
    repairs = HistogramMetricFamily(
        "netplumb_repair_duration_seconds",
        "How long damage lasted by the kind of object, from when it was heard of or looked for until it was repaired.",
        labels=["kind"],
    )
    yield _observed(repairs, {(kind,): distribution for kind, distribution in counted.repaired.items()})


def _observed(metric: HistogramMetricFamily, by_labels: Mapping[tuple[str, ...], Distribution]) -> Metric:
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for labels, distribution in by_labels.items():
        buckets = list(zip(bounds, map(float, accumulate(distribution.counts)), strict=True))
        metric.add_metric(labels, buckets, distribution.total_s)
    return metric


def _totals(counted: Counted) -> Iterator[Metric]:
    counters = counted.status.counters
    repairs = CounterMetricFamily("netplumb_repairs", "Repaired objects by kind.", labels=["kind"])
    yield _by(repairs, counters.repairs)
    yield _counter("retries", "Passes that were tried again after a failed step.", counters.retries)
    yield _counter("resyncs", "Full comparisons with the kernel.", counters.resyncs)
    yield _counter("kernel_events", "Notifications of the kernel that were heard.", counters.events)
    words = "How often notifications were lost; each time everything is read anew."
    yield _counter("kernel_events_lost", words, counters.lost_events)
    yield _counter("fights", "How often another program began to undo repairs at once.", counted.fights)
    yield _counter("refusals", "Wishes that were refused.", counted.refusals)
    yield _counter("nftables_transactions", "Transactions on the table inet netplumb.", counted.transactions)


def _pools(status: NodeStatus) -> Iterator[Metric]:
    words = "Addresses of a pool that are held by attachments."
    yield _by(
        GaugeMetricFamily("netplumb_pool_addresses_held", words, labels=["pool"]),
        {pool.name: pool.held for pool in status.pools},
    )
    yield _by(
        GaugeMetricFamily("netplumb_pool_addresses_free", "Addresses of a pool that nobody holds.", labels=["pool"]),
        {pool.name: max(0, pool.size - pool.held) for pool in status.pools},
    )


def _read(counted: Counted, read: Read) -> Iterator[Metric]:
    if read.dropped is not None:
        dropped = CounterMetricFamily(
            "netplumb_dropped_packets",
            "Packets that were dropped by the rule that dropped them: spoofed sources, isolation and others.",
            labels=["chain", "rule"],
        )
        for (chain, rule), packets in _summed(read).items():
            dropped.add_metric([chain, rule], packets)
        yield dropped
    words = "Bytes on disk of the files that hold desired state and events, SQLite's logs included."
    yield _by(GaugeMetricFamily("netplumb_store_size_bytes", words, labels=["store"]), read.store_bytes)
    if read.traffic:
        yield from _traffic(read)
    if read.denied:
        yield _denied(counted, read)


def _summed(read: Read) -> Mapping[tuple[str, str], int]:
    """Rules with the same words in the same chain, as those for either direction, are one, and so are the chains that
    policies' combinations have each of its own."""
    found: Counter[tuple[str, str]] = Counter()
    for it in read.dropped or ():
        direction = direction_of(it.chain)
        found[f"policy_{direction.lower()}" if direction else it.chain, it.rule] += it.packets
    return found


def _denied(counted: Counted, read: Read) -> Metric:
    words = "Packets to a workload (Ingress) or from it (Egress) that network policies denied."
    metric = CounterMetricFamily(
        "netplumb_workload_denied_packets", words, labels=["workload", "interface", "direction"]
    )
    keys = {node_if_name(it.key): it.key for it in counted.attachments}
    for direction, denied in read.denied.items():
        for link, packets in denied.items():
            if (key := keys.get(link)) is not None:
                metric.add_metric([key.workload_id, key.if_name, direction.value], packets)
    return metric


def _traffic(read: Read) -> Iterator[Metric]:
    """Seen from the workload: what its link on the node received is what it sent."""
    for name, words, field in (
        ("receive_bytes", "Bytes that a workload received.", "sent_bytes"),
        ("receive_packets", "Packets that a workload received.", "sent_packets"),
        ("transmit_bytes", "Bytes that a workload sent.", "received_bytes"),
        ("transmit_packets", "Packets that a workload sent.", "received_packets"),
    ):
        metric = CounterMetricFamily(f"netplumb_workload_{name}", words, labels=["workload", "interface"])
        for key, counts in read.traffic.items():
            metric.add_metric([key.workload_id, key.if_name], getattr(counts, field))
        yield metric
