"""Manifests of network policies: the schema as Kubernetes has it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from netplumb.models.labelselectors import LabelSelector
from netplumb.models.networkpolicy import Direction, NetworkPolicy, PolicySpec
from netplumb.reconciler.settings.mistakes import wrongs


def manifest(**spec: Any) -> dict[str, Any]:
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"}}
    return {**head, "spec": {"podSelector": {}, **spec}}


def refusals(**spec: Any) -> list[str]:
    data = manifest(**spec)
    with pytest.raises(ValidationError) as caught:
        NetworkPolicy.model_validate(data)
    return [str(wrong) for wrong in wrongs(caught.value, NetworkPolicy, data)]


def test_what_is_stored_is_read_back() -> None:
    """A policy survives the store, in Kubernetes' own words."""
    blocks = [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    ports = [{"protocol": "SCTP", "port": "80", "endPort": "90"}]
    policy = NetworkPolicy.model_validate(manifest(ingress=[{"from": blocks, "ports": ports}], egress=None))
    assert NetworkPolicy.model_validate_json(policy.model_dump_json(by_alias=True, exclude_defaults=True)) == policy


def test_empty_fields_are_no_fields() -> None:
    """`ingress:` with nothing behind it is what many manifests have."""
    assert NetworkPolicy.model_validate(manifest(ingress=None, egress=None)).spec.directions == {Direction.INGRESS}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"ingress": [{"ports": [{"port": "http"}]}]},
            "ingress[0].ports[0].port: 'http' is a port by name, and nobody tells netplumb those names; give its",
        ),
        ({"ingress": [{"ports": [{"port": "80", "endPort": "79"}]}]}, "endPort: needs a port that is not behind it"),
        ({"ingress": [{"ports": [{"endPort": "79"}]}]}, "endPort: needs a port that is not behind it"),
        ({"ingress": [{"ports": [{"protocol": "tcp"}]}]}, "must be 'TCP', 'UDP' or 'SCTP', not tcp"),
        ({"ingress": [{"from": [{}]}]}, "give podSelector, namespaceSelector or ipBlock"),
        ({"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, "ipBlock stands alone"),
        ({"egress": [{"from": []}]}, "from"),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]},
            "11.0.0.0/16 must lie within 10.0.0.0/8",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "::ffff:10.0.0.0/104"}}]}]},
            "::ffff:10.0.0.0/104 is IPv4 in IPv6's clothes",
        ),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "In needs at least one"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}, "not Gt"),
        ({"podselector": {}}, "podselector"),
    ],
)
def test_what_is_refused_says_where_and_why(spec: dict[str, Any], told: str) -> None:
    """Nothing that a policy says is passed over."""
    (wrong,) = refusals(**spec)
    assert told in wrong


@pytest.mark.parametrize(
    ("expression", "on", "off"),
    [
        ({"operator": "In", "values": ["web", "api"]}, [{"app": "web"}], [{"app": "db"}, {}]),
        ({"operator": "NotIn", "values": ["web"]}, [{"app": "db"}, {}], [{"app": "web"}]),
        ({"operator": "Exists"}, [{"app": ""}], [{}]),
        ({"operator": "DoesNotExist"}, [{}], [{"app": "web"}]),
    ],
)
def test_expressions(expression: dict[str, Any], on: list[dict[str, str]], off: list[dict[str, str]]) -> None:
    """NotIn and DoesNotExist hold of what lacks the label."""
    selector = LabelSelector.model_validate({"matchExpressions": [{"key": "app", **expression}]})
    assert [selector.matches(labels) for labels in [*on, *off]] == [True] * len(on) + [False] * len(off)


@pytest.mark.parametrize("types", [None, []])
def test_policy_types_that_are_not_said_follow_from_the_rules(types: list[str] | None) -> None:
    """Kubernetes takes an empty list as none: such a policy isolates, rather than being about nothing."""
    spec: dict[str, Any] = {"podSelector": {}, "policyTypes": types}
    assert PolicySpec.model_validate(spec).directions == {Direction.INGRESS}
    assert PolicySpec.model_validate(spec | {"egress": [{}]}).directions == set(Direction)
