"""The well-known cases, from the documentation of Kubernetes and the recipes that people copy."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, explained, verdict
from tests.unit.decide.policies import manifests
from tests.unit.decide.policies.manifests import namespace, policies

TCP, UDP, ICMP = 6, 17, 1


def endpoint(name: str, last: int, space: str = "shop", **labels: str) -> Endpoint:
    addresses = (ip_address(f"10.0.0.{last}"), ip_address(f"fd00::{last}"))
    return Endpoint(name, space, {key.replace("_", "-"): value for key, value in labels.items()}, addresses)


WEB, DB = endpoint("web", 1, app="web"), endpoint("db", 2, app="db")
WEB_ELSEWHERE, JOB = endpoint("spy", 3, "monitoring", app="web"), endpoint("job", 4, "prod", app="job")
DNS = endpoint("dns", 5, "kube-system", k8s_app="kube-dns")
NODE = ip_address("10.0.0.254")


def allowed(text: str, source: Endpoint | str, to: Endpoint | str, port: int = 5432, protocol: int = TCP) -> bool:
    world = World(
        policies(text),
        {"prod": namespace("prod", purpose="production")},
        (WEB, DB, WEB_ELSEWHERE, JOB, DNS),
        frozenset({NODE}),
    )
    ends = [ip_address(end) if isinstance(end, str) else end.addresses[0] for end in (source, to)]
    return verdict(world, Packet(ends[0], ends[1], protocol, port)).allowed


def test_without_a_policy_everything_passes() -> None:
    """A workload that no policy selects is not isolated."""
    assert allowed("", WEB, DB)


def test_deny_all() -> None:
    """In a namespace where all is denied nothing passes either way; other namespaces do not notice."""
    assert not allowed(manifests.DENY_ALL, WEB, DB)
    assert not allowed(manifests.DENY_ALL, WEB, "192.0.2.1")
    assert not allowed(manifests.DENY_ALL, JOB, DB)
    assert not allowed(manifests.DENY_ALL, WEB, DB, protocol=ICMP, port=0)
    assert allowed(manifests.DENY_ALL, JOB, WEB_ELSEWHERE)


def test_a_workload_and_the_node_are_never_kept_from_it() -> None:
    """A workload reaches itself, and the node its workloads, whatever the policies say."""
    assert allowed(manifests.DENY_ALL, WEB, WEB)
    assert allowed(manifests.DENY_ALL, str(NODE), DB)
    assert allowed(manifests.DENY_ALL, WEB, str(NODE))


def test_a_workload_reaches_itself_by_another_of_its_interfaces() -> None:
    """Interfaces may differ in their labels, and are one workload."""
    eth0, eth1, other = endpoint("web/eth0", 1), endpoint("web/eth1", 2, app="other"), endpoint("web-2/eth0", 3)
    world = World(policies(manifests.DENY_ALL), endpoints=(eth0, eth1, other))
    asked = Packet(eth0.addresses[0], eth1.addresses[0], TCP, 80)
    assert verdict(world, asked).allowed
    assert not verdict(world, replace(asked, destination=other.addresses[0])).allowed


def test_all_egress_but_dns() -> None:
    """Only the name server is reached, at its port, in both protocols."""
    assert allowed(manifests.ONLY_DNS, WEB, DNS, 53, UDP)
    assert allowed(manifests.ONLY_DNS, WEB, DNS, 53, TCP)
    assert not allowed(manifests.ONLY_DNS, WEB, DNS, 54, UDP)
    assert not allowed(manifests.ONLY_DNS, WEB, JOB, 53, UDP)
    assert allowed(manifests.ONLY_DNS, JOB, WEB)


def test_from_one_app() -> None:
    """Only workloads of that app, of the same namespace."""
    assert allowed(manifests.FROM_ONE_APP, WEB, DB)
    assert not allowed(manifests.FROM_ONE_APP, WEB_ELSEWHERE, DB)
    assert not allowed(manifests.FROM_ONE_APP, "192.0.2.1", DB)
    assert allowed(manifests.FROM_ONE_APP, JOB, WEB)


def test_from_another_namespace() -> None:
    """All workloads of the namespaces with that label, and no others."""
    assert allowed(manifests.FROM_A_NAMESPACE, JOB, DB)
    assert not allowed(manifests.FROM_A_NAMESPACE, WEB, DB)


def test_from_an_app_in_another_namespace() -> None:
    """Both selectors of one entry must hold; a namespace has its name as a label by itself."""
    assert allowed(manifests.FROM_AN_APP_ELSEWHERE, WEB_ELSEWHERE, DB)
    assert not allowed(manifests.FROM_AN_APP_ELSEWHERE, WEB, DB)
    assert not allowed(manifests.FROM_AN_APP_ELSEWHERE, JOB, DB)


def test_only_some_ports() -> None:
    """A rule with ports and no peers allows these ports to everyone; without a protocol TCP is meant."""
    assert allowed(manifests.ONLY_A_PORT, JOB, DB, 5432)
    assert not allowed(manifests.ONLY_A_PORT, JOB, DB, 5433)
    assert not allowed(manifests.ONLY_A_PORT, JOB, DB, 5432, UDP)
    assert not allowed(manifests.ONLY_A_PORT, JOB, DB, 0, ICMP)


def test_a_range_of_ports() -> None:
    """Both ends of the range are among it."""
    assert [allowed(manifests.A_RANGE, WEB, DB, port) for port in (31999, 32000, 32768, 32769)] == [
        False,
        True,
        True,
        False,
    ]


def test_addresses_outside_less_some() -> None:
    """An ipBlock with `except`."""
    assert allowed(manifests.FROM_OUTSIDE, "172.17.0.9", WEB)
    assert not allowed(manifests.FROM_OUTSIDE, "172.17.1.9", WEB)
    assert not allowed(manifests.FROM_OUTSIDE, "172.18.0.9", WEB)


def test_allow_all_over_a_deny() -> None:
    """Rules add up: what one policy allows no other takes back."""
    assert allowed(manifests.DENY_INGRESS + "---" + manifests.ALLOW_ALL, JOB, DB)
    assert allowed(manifests.DENY_INGRESS + "---" + manifests.ALLOW_ALL, JOB, DB, 0, ICMP)


def test_several_policies_on_one_workload() -> None:
    """Each adds what it allows."""
    both = manifests.FROM_ONE_APP + "---" + manifests.FROM_A_NAMESPACE
    assert allowed(both, WEB, DB)
    assert allowed(both, JOB, DB)
    assert not allowed(both, WEB_ELSEWHERE, DB)


@pytest.mark.parametrize(("types", "denied"), [("", True), ("policyTypes: [Ingress]", False)])
def test_directions_without_policy_types(types: str, *, denied: bool) -> None:
    """Without policyTypes a policy with egress rules isolates for egress too; with them, what they say."""
    text = f"{manifests.HEAD}\nmetadata: {{name: a, namespace: shop}}\nspec:\n  podSelector: {{}}\n"
    text += f"  {types}\n  egress: [{{to: [{{podSelector: {{}}}}]}}]\n"
    assert allowed(text, WEB, "192.0.2.1") is not denied


def test_it_says_why() -> None:
    """The words name the policy and the rule, or those that would have to allow it."""
    world = World(policies(manifests.FROM_ONE_APP), {}, (WEB, DB, JOB))
    fine, not_fine = (verdict(world, Packet(it.addresses[0], DB.addresses[0], TCP, 5432)).ingress for it in (WEB, JOB))
    assert list(explained(fine, world)) == [
        "ingress: allowed by shop/api-allow, rule 1: workloads with app=web (every protocol)"
    ]
    assert list(explained(not_fine, world)) == ["ingress: denied; no rule of shop/api-allow allows it"]
