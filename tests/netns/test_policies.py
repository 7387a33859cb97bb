"""Network policies in the real kernel: what is enforced is what the specification says, pair by pair."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from netplumb.models.attachment import Attachment
from netplumb.models.networkpolicy import NetworkPolicy
from netplumb.models.nft import NftElement
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.decide.policies.verdict import verdict
from tests.netns.conftest import NodeNamespace
from tests.netns.policysite import PORTS, Probe, Site, workload
from tests.unit.decide.policies.manifests import DENY_INGRESS, FROM_ONE_APP, namespace
from tests.unit.decide.policies.manifests import policies as policies_of

WORKLOADS = 5
EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "8"))
"""Sets of policies that are drawn; each is probed 600 times."""

NAMESPACES = ("shop", "prod")
LABELS = {"app": ("web", "db"), "tier": ("a", "b")}
BLOCKS: tuple[dict[str, Any], ...] = (
    {"cidr": "10.9.0.200/32"},
    {"cidr": "fd09::200/128"},
    {"cidr": "10.9.0.0/24", "except": ["10.9.0.0/30", "10.9.0.200/32"]},
    {"cidr": "0.0.0.0/0", "except": ["10.9.0.4/31"]},
    {"cidr": "::/0"},
    {"cidr": "fd09::/64", "except": ["fd09::1/128", "fd09::3/128"]},
)

label_maps = st.dictionaries(st.sampled_from(sorted(LABELS)), st.sampled_from(("web", "db", "a", "b")), max_size=2)


@st.composite
def selectors(draw: st.DrawFn) -> dict[str, Any]:
    expressions = st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, **({"values": values} if values else {})},
        st.sampled_from(sorted(LABELS)),
        st.just("Exists") | st.just("DoesNotExist"),
        st.just([]),
    ) | st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        st.sampled_from(sorted(LABELS)),
        st.just("In") | st.just("NotIn"),
        st.lists(st.sampled_from(("web", "db", "a")), min_size=1, max_size=2),
    )
    return {"matchLabels": draw(label_maps), "matchExpressions": draw(st.lists(expressions, max_size=1))}


namespace_selectors = st.sampled_from(
    ({}, {"matchLabels": {"stage": "live"}}, {"matchLabels": {"kubernetes.io/metadata.name": "shop"}})
)
peers = st.one_of(
    st.fixed_dictionaries({"podSelector": selectors()}),
    st.fixed_dictionaries({"namespaceSelector": namespace_selectors}),
    st.fixed_dictionaries({"podSelector": selectors(), "namespaceSelector": namespace_selectors}),
    st.fixed_dictionaries({"ipBlock": st.sampled_from(BLOCKS)}),
)
ports = st.one_of(
    st.fixed_dictionaries({"port": st.sampled_from(PORTS)}),
    st.fixed_dictionaries({"port": st.just(80), "endPort": st.sampled_from((81, 5432)), "protocol": st.just("UDP")}),
    st.fixed_dictionaries({"protocol": st.sampled_from(("TCP", "UDP", "SCTP"))}),
    st.fixed_dictionaries({"protocol": st.sampled_from(("UDP", "SCTP")), "port": st.sampled_from(PORTS)}),
)


@st.composite
def policies(draw: st.DrawFn) -> NetworkPolicy:
    def rules(peers_are: str) -> list[Mapping[str, Any]]:
        rule = st.fixed_dictionaries({peers_are: st.lists(peers, max_size=2), "ports": st.lists(ports, max_size=2)})
        return draw(st.lists(rule, max_size=2))

    types = draw(st.sampled_from((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    spec = {"podSelector": draw(selectors()), "ingress": rules("from"), "egress": rules("to")}
    spec |= {"policyTypes": types} if types else {}
    metadata = {"namespace": draw(st.sampled_from(NAMESPACES)), "name": f"p{draw(st.integers(0, 10**9))}"}
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
    return NetworkPolicy.model_validate({**head, "spec": spec})


@st.composite
def policy_sets(draw: st.DrawFn) -> PolicySet:
    drawn = draw(st.lists(policies(), min_size=1, max_size=5, unique_by=lambda it: it.key))
    live = {"prod": namespace("prod", stage="live")} if draw(st.booleans()) else {}
    return PolicySet(tuple(sorted(drawn, key=lambda it: it.key)), live)


workloads = st.tuples(
    *(
        st.builds(workload, st.just(number), st.sampled_from(NAMESPACES), label_maps)
        for number in range(1, WORKLOADS + 1)
    )
)


@pytest.fixture
def site(node: NodeNamespace) -> Iterator[Site]:
    made = Site(node, WORKLOADS)
    yield made
    made.close()


def test_the_kernel_agrees_with_the_specification(site: Site) -> None:
    """Whatever the policies and labels, a packet comes through where the specification says so, and nowhere else: of
    TCP, UDP, SCTP and ICMP, in both families."""
    probes = [
        Probe(*pair, protocol, version, port)
        for pair in site.pairs()
        for protocol, version, port in (*product(("tcp", "udp", "sctp"), (4, 6), PORTS), ("icmp", 4, 0), ("icmp", 6, 0))
    ]
    probed = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(policy_sets(), workloads)
    def agrees(drawn: PolicySet, there: tuple[Attachment, ...]) -> None:
        nonlocal probed
        site.enforce(drawn, there)
        world = site.world(drawn, there)
        allowed = {it for it in probes if verdict(world, site.packet(it)).allowed}
        arrived = site.arrived(probes, allowed)
        assert arrived == allowed, f"{arrived - allowed} came through, and {allowed - arrived} did not"
        probed += len(probes)

    agrees()
    assert probed >= 500 * EXAMPLES


def test_a_workload_that_comes_or_changes_is_elements_alone(site: Site) -> None:
    """Where its policies select others already, no rule, chain or set is touched."""
    deny, web = policies_of(DENY_INGRESS + "---" + FROM_ONE_APP)
    drawn = PolicySet((deny, web))
    there = [workload(1, "shop", {"app": "web"}), workload(2, "shop", {"app": "db"}), workload(3, "shop", {})]
    site.enforce(drawn, there)
    assert all(isinstance(it.thing, NftElement) for it in site.enforce(drawn, [*there, workload(4, "shop", {})]))
    changed = [*there[:2], workload(3, "shop", {"app": "db"}), workload(4, "shop", {"app": "web"})]
    steps = site.enforce(drawn, changed)
    assert steps
    assert all(isinstance(it.thing, NftElement) for it in steps)


def test_a_rule_takes_the_ranges_of_a_large_provider(site: Site) -> None:
    """Thousands of networks, of both families, and hundreds of ports: those within come in, and nobody else."""
    blocks = [f"10.{10 + number // 256}.{number % 256}.0/25" for number in range(4_000)] + ["10.9.0.200/32"]
    blocks += [f"2001:db8:{number:x}::/48" for number in range(2_000)] + ["fd09::200/128"]
    peers = [{"ipBlock": {"cidr": it}} for it in blocks]
    ports = [{"protocol": "TCP", "port": it} for it in (81, *range(10_000, 11_000, 2))]
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": "x"}}
    spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": ports}]}
    drawn = PolicySet((NetworkPolicy.model_validate({**head, "spec": spec}),))
    site.enforce(drawn, [workload(1, "x", {}), workload(2, "other", {})])
    probes = [
        Probe(it, "w1", "tcp", version, port) for it in ("w2", "outside") for version in (4, 6) for port in (80, 81)
    ]
    allowed = {it for it in probes if it.source == "outside" and it.port == 81}
    assert site.arrived(probes, allowed) == allowed
