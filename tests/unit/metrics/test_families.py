"""A reading as Prometheus reads it: names and types, sums, and what is left out where it was not read."""

from __future__ import annotations

from ipaddress import ip_address

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.kernel import LinkUp, Scope
from netplumb.models.networkpolicy import Direction
from netplumb.models.status import Condition, Counters, NodeStatus, PoolUsage
from netplumb.reconciler.kernel.nftables.counters import Dropped
from netplumb.reconciler.kernel.rtnetlink.linkstats import Traffic
from netplumb.reconciler.metrics.families import families
from netplumb.reconciler.metrics.reading import Counted, Read
from netplumb.reconciler.status.tally import BOUNDS_S, Durations, Tally

STATUS = NodeStatus(
    ready=True,
    version="1.2.3",
    started_at=1_700_000_000.0,
    conditions=(Condition("NodeInSync", True), Condition("ForwardBlocked", False)),
    pools=(PoolUsage("10.99.0.0/24", 3, 253), PoolUsage("fd99::/64", 300, 200)),
    phases={"Attached": 2, "Failed": 1},
    counters=Counters(passes=7, repairs={"route": 3}, retries=4, resyncs=2, events=40, lost_events=1),
    queue_length=5,
    queue_age_s=0.25,
    last_slice_at=1_700_000_100.0,
)


def durations(*seconds: float) -> Durations:
    made = Durations()
    for each in seconds:
        made.observe(each)
    return made


def counted() -> Counted:
    spec = AttachmentSpec.model_validate(
        {"workload_id": "web", "netns": {"name": "web"}, "port_mappings": ["80:80", "53:53/udp"]}
    )
    record = Attachment(spec=spec, source="rpc", mac="02:00:00:00:00:07", addresses=(ip_address("10.99.0.2"),))
    nothing = Durations().frozen()
    return Counted(
        status=STATUS,
        attachments=(record, record),
        attaching=durations(0.0005, 0.001, 0.002, 99.0).frozen(),
        detaching=nothing,
        passing=nothing,
        passing_node=nothing,
        resyncing=nothing,
        repaired={"route": durations(0.004).frozen()},
        fights=6,
        refusals=8,
        transactions=9,
    )


def scraped(read: Read) -> dict[tuple[str, ...], float]:
    """The samples by name and labels, after the text was made and parsed."""

    class Once(Collector):
        def collect(self) -> list[Metric]:
            return list(families(counted(), read))

    registry = CollectorRegistry()
    registry.register(Once())
    text = generate_latest(registry).decode()
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_counted_is_told() -> None:
    found = scraped(Read())
    expected: dict[tuple[str, ...], float] = {
        ("netplumb_build_info", "version=1.2.3"): 1,
        ("netplumb_ready",): 1,
        ("netplumb_condition", "type=NodeInSync"): 1,
        ("netplumb_condition", "type=ForwardBlocked"): 0,
        ("netplumb_queue_length",): 5,
        ("netplumb_queue_oldest_age_seconds",): 0.25,
        ("netplumb_attachments", "phase=Attached"): 2,
        ("netplumb_attachments", "phase=Lost"): 0,
        ("netplumb_port_mappings", "protocol=tcp"): 2,
        ("netplumb_port_mappings", "protocol=sctp"): 0,
        ("netplumb_repairs_total", "kind=route"): 3,
        ("netplumb_retries_total",): 4,
        ("netplumb_resyncs_total",): 2,
        ("netplumb_kernel_events_total",): 40,
        ("netplumb_kernel_events_lost_total",): 1,
        ("netplumb_fights_total",): 6,
        ("netplumb_refusals_total",): 8,
        ("netplumb_nftables_transactions_total",): 9,
        ("netplumb_pool_addresses_held", "pool=10.99.0.0/24"): 3,
        ("netplumb_pool_addresses_free", "pool=10.99.0.0/24"): 250,
        ("netplumb_pool_addresses_free", "pool=fd99::/64"): 0,  # more are held than it gives, as static ones may be
    }
    assert expected.items() <= found.items()
    assert not [name for name, *_ in found if "denied" in name], "nobody has that link"


def test_a_histogram_is_cumulative_with_its_count_and_sum() -> None:
    found = scraped(Read())
    name = "netplumb_attach_duration_seconds"
    buckets = {bound: found[f"{name}_bucket", f"le={bound}"] for bound in ("0.001", "0.0025", "30.0", "+Inf")}
    assert buckets == {"0.001": 2, "0.0025": 3, "30.0": 3, "+Inf": 4}
    assert found[f"{name}_count",] == 4
    assert found[f"{name}_sum",] == 99.0035
    assert found["netplumb_repair_duration_seconds_bucket", "kind=route", "le=0.005"] == 1
    assert found["netplumb_pass_duration_seconds_count", "scope=node"] == 0


def test_what_was_read_is_told() -> None:
    """Rules of the same words in one chain are one; traffic is seen from the workload."""
    read = Read(
        dropped=[
            Dropped("between", "isolate_workloads: true", 3),
            Dropped("between", "isolate_workloads: true", 4),
            Dropped("guard", "spoofed sources", 1),
            Dropped("ingress_of_0123", "no policy allows this ingress", 1),
            Dropped("ingress_of_4567", "no policy allows this ingress", 1),
        ],
        traffic={AttachmentKey("web", "eth0"): Traffic(10, 20, 1000, 2000)},
        denied={Direction.EGRESS: {"npother": 5}},
        store_bytes={"desired": 4096},
    )
    found = scraped(read)
    web = ("interface=eth0", "workload=web")
    expected: dict[tuple[str, ...], float] = {
        ("netplumb_dropped_packets_total", "chain=between", "rule=isolate_workloads: true"): 7,
        ("netplumb_dropped_packets_total", "chain=guard", "rule=spoofed sources"): 1,
        ("netplumb_dropped_packets_total", "chain=policy_ingress", "rule=no policy allows this ingress"): 2,
        ("netplumb_store_size_bytes", "store=desired"): 4096,
        ("netplumb_workload_transmit_packets_total", *web): 10,
        ("netplumb_workload_receive_packets_total", *web): 20,
        ("netplumb_workload_transmit_bytes_total", *web): 1000,
        ("netplumb_workload_receive_bytes_total", *web): 2000,
    }
    assert expected.items() <= found.items()


def test_what_was_not_read_is_left_out() -> None:
    """A zero would pass for a count that was reset."""
    assert not [name for name, *_ in scraped(Read()) if "dropped" in name or "workload" in name]


def test_a_repair_is_counted_by_object_and_timed_by_kind() -> None:
    tally = Tally()
    tally.repair([LinkUp(Scope.NODE, "a"), LinkUp(Scope.NODE, "b")], 0.004)
    assert tally.repairs == {"link_up": 2}
    assert sum(tally.repaired["link_up"].frozen().counts) == 1


def test_each_duration_falls_below_its_bound() -> None:
    for number, bound in enumerate(BOUNDS_S):
        counts = durations(bound).frozen().counts
        assert counts.index(1) == number
    assert durations(1e9).frozen().counts[-1] == 1
