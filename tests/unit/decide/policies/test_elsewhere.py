"""Workloads of other nodes are in the sets that rules look in exactly where the specification lets them be peers."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.network import Node
from netplumb.models.networkpolicy import Direction, Namespace, NetworkPolicy
from netplumb.models.nft import NftChain, NftElement, peer_addresses
from netplumb.models.policyset import Combination, PolicySet
from netplumb.reconciler.decide.policies.differences import differences
from netplumb.reconciler.decide.policies.elsewhere import looked_in, needed, owner, render_at
from netplumb.reconciler.decide.policies.selection import peers_name
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, verdict
from netplumb.reconciler.decide.render.policies import render_policy_chains

DB = Endpoint("db/eth0", "default", {"app": "db"}, (ip_address("10.1.0.5"), ip_address("fd01::5")))
CLUSTER = ClusterView("a", ClusterMode.ROUTES, pools=(ip_network("10.1.0.0/16"), ip_network("fd01::/48")))
TCP = 6

labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["web", "db", "job"]))
spaces = st.sampled_from(["default", "blue", "green"])
requirement = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["app", "tier"]),
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from(["web", "db"]), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"key": st.sampled_from(["app", "tier"]), "operator": st.sampled_from(["Exists", "DoesNotExist"])}
    ),
)
selector = st.one_of(
    st.builds(lambda it: {"matchLabels": it}, labels),
    st.builds(lambda it: {"matchExpressions": it}, st.lists(requirement, max_size=2)),
)
peer = st.one_of(
    st.builds(lambda it: {"podSelector": it}, selector),
    st.builds(lambda it: {"namespaceSelector": it}, selector),
    st.builds(lambda pods, its: {"podSelector": pods, "namespaceSelector": its}, selector, selector),
)


@st.composite
def remotes(draw: st.DrawFn) -> list[Endpoint]:
    return [
        Endpoint(
            f"w{number}/eth0",
            draw(spaces),
            draw(labels),
            (ip_address(f"10.1.{number}.9"), ip_address(f"fd01:0:0:{number}::9")),
            f"node-{number}",
        )
        for number in range(1, draw(st.integers(1, 4)) + 1)
    ]


def ingress_from(*peers: dict[str, Any], direction: Direction = Direction.INGRESS) -> NetworkPolicy:
    """Whom db is asked by, or whom it may ask."""
    name, whom = ("ingress", "from") if direction is Direction.INGRESS else ("egress", "to")
    return NetworkPolicy.model_validate(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "peers"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "db"}},
                "policyTypes": [direction],
                name: [{whom: list(peers)}],
            },
        }
    )


def node(policies: PolicySet, *directions: Direction) -> Node:
    combinations = frozenset(Combination(it, tuple(p.policy_key for p in policies.policies)) for it in directions)
    return Node(policies=policies, combinations=combinations, cluster=CLUSTER)


@given(
    st.sampled_from(list(Direction)),
    st.lists(peer, min_size=1, max_size=3),
    st.dictionaries(spaces, labels, max_size=2),
    remotes(),
)
def test_the_sets_say_what_the_specification_says(
    direction: Direction, peers: list[dict[str, Any]], named: dict[str, dict[str, str]], others: list[Endpoint]
) -> None:
    policy = ingress_from(*peers, direction=direction)
    namespaces = {
        name: Namespace.model_validate(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": its}}
        )
        for name, its in named.items()
    }
    policies = PolicySet((policy,), namespaces)
    here = node(policies, direction)
    (rule,) = policy.spec.rules(direction)
    name = peers_name(policy, rule.peers)
    assert name is not None
    world = World((policy,), namespaces, (DB,), elsewhere=others)
    for other in others:
        for mine, its in zip(DB.addresses, other.addresses, strict=True):
            ends = (its, mine) if direction is Direction.INGRESS else (mine, its)
            element = NftElement(peer_addresses(name, its.version).name, (str(its),), owner=owner(its))
            allowed = verdict(world, Packet(*ends, TCP, 80)).allowed
            assert (element in render_at(its, other, here)) is allowed
            assert needed(other, policies, looked_in(policies, here.combinations)) is allowed


def test_what_isolates_nobody_here_needs_nobody() -> None:
    policies = PolicySet((ingress_from({"podSelector": {}}),))
    other = Endpoint("web/eth0", "default", {}, (ip_address("10.1.1.9"),), "b")
    assert not looked_in(policies, frozenset())
    assert not list(render_at(other.addresses[0], other, node(policies)))


def test_what_a_workload_elsewhere_may_do_is_judged_where_it_is() -> None:
    """Policies select it there: here it is neither isolated nor let go by what isolates it."""
    policy = ingress_from({"podSelector": {}}, direction=Direction.EGRESS)
    other = Endpoint("db/eth0", "default", {"app": "db"}, (ip_address("10.1.1.9"),), "b")
    here = Endpoint("web/eth0", "blue", {}, (ip_address("10.1.0.9"),))
    world = World((policy,), {}, (here,), elsewhere=(other,))
    assert verdict(world, Packet(other.addresses[0], here.addresses[0], TCP, 80)).allowed
    assert not verdict(
        World((policy,), {}, (here, other)), Packet(other.addresses[0], here.addresses[0], TCP, 80)
    ).allowed


def test_without_a_cluster_no_rule_asks_for_addresses_elsewhere() -> None:
    policies = PolicySet((ingress_from({"podSelector": {}}),))
    combined = node(policies, Direction.INGRESS)
    alone = Node(policies=policies, combinations=combined.combinations)

    def rules(it: Node) -> str:
        chains = (thing for thing in render_policy_chains(it) if isinstance(thing, NftChain))
        return " ".join(rule for chain in chains for rule in chain.rules)

    assert "_ip4" in rules(combined)
    assert "_ip6" in rules(combined)
    assert "_ip4" not in rules(alone)


def test_a_difference_tells_of_workloads_elsewhere_by_one_of_them() -> None:
    policy = ingress_from({"podSelector": {"matchLabels": {"app": "web"}}})
    others = [
        Endpoint(f"{name}/eth0", "default", {"app": "job"}, (ip_address(f"10.1.{number}.9"),), "b")
        for number, name in enumerate(("one", "two", "three"), 1)
    ]
    found = list(differences(World((), {}, (DB,), elsewhere=others), World((policy,), {}, (DB,), elsewhere=others)))
    assert {(it.source, it.destination, it.allowed) for it in found} == {("b/one/eth0 and 2 more", "db/eth0", False)}
