"""What other policies would change is told of each pair of workloads, and of nobody with itself."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from netplumb.models.networkpolicy import NetworkPolicy
from netplumb.reconciler.decide.policies.differences import differences
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, verdict

HEAD = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": "x"}}
DENY = NetworkPolicy.model_validate({**HEAD, "spec": {"podSelector": {}}})
FROM_WEB = NetworkPolicy.model_validate(
    {
        **HEAD,
        "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80, "endPort": 90}]}
            ],
        },
    }
)
PORTS = (79, 80, 90, 91)


def endpoint(name: str, number: int, **labels: str) -> Endpoint:
    return Endpoint(name, "x", labels, (ip_address(f"10.9.0.{number}"), ip_address(f"fd09::{number}")))


def test_interfaces_of_one_workload_stand_for_no_other_pair() -> None:
    """Those reach each other whatever the policies; so who is asked for all that are alike must be others."""
    both = [endpoint("a/eth0", 1), endpoint("a/eth1", 2)]
    endpoints = (*both, endpoint("b/eth0", 3))
    found = list(differences(World((), {}, endpoints), World((DENY,), {}, endpoints)))
    pairs = {(it.source, it.destination) for it in found}
    assert pairs == {("a/eth0", "b/eth0"), ("a/eth1", "b/eth0"), ("b/eth0", "a/eth0"), ("b/eth0", "a/eth1")}
    assert not list(differences(World((), {}, both), World((DENY,), {}, both)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(("", "web", "db")), min_size=2, max_size=6), st.sampled_from((DENY, FROM_WEB)))
def test_what_is_told_is_what_the_verdict_says(apps: list[str], policy: NetworkPolicy) -> None:
    """Of each pair, port by port; the first two are interfaces of one workload."""
    names = ["a/eth0", "a/eth1", *(f"w{number}/eth0" for number in range(2, len(apps)))]
    endpoints = [
        endpoint(name, number + 1, **({"app": app} if app else {}))
        for number, (name, app) in enumerate(zip(names, apps, strict=True))
    ]
    before, after = World((), {}, endpoints), World((policy,), {}, endpoints)
    told = [it for it in differences(before, after) if it.protocol == "TCP"]
    for one, other in product(endpoints, endpoints):
        for port in PORTS:
            packet = Packet(one.addresses[0], other.addresses[0], 6, port)
            lost = verdict(before, packet).allowed and not verdict(after, packet).allowed
            named = [
                it
                for it in told
                if (it.source, it.destination) == (one.name, other.name) and it.first <= port <= it.last
            ]
            assert bool(named) is lost, (one.name, other.name, port)
