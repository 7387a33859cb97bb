"""Rendering of what ends nowhere. That it does is held by tests/e2e/test_untranslated.py."""

from __future__ import annotations

import pytest

from netplumb.models.network import Node
from netplumb.models.nft import NftChain
from netplumb.reconciler.decide.render.untranslated import render_untranslated


def chains(*, masquerade: bool) -> dict[str, NftChain]:
    return {chain.name: chain for chain in render_untranslated(Node(masquerade=masquerade))}


@pytest.mark.parametrize("name", ["leaving", "delivered"])
@pytest.mark.parametrize("masquerade", [True, False])
def test_it_is_judged_behind_every_translation(name: str, masquerade: bool) -> None:
    """Where source NAT is done, and where IPVS has taken what is its own; what no rule names passes."""
    chain = chains(masquerade=masquerade)[name]
    assert chain.priority > 100
    assert chain.policy == "accept"


def test_the_rest_of_the_nodes_packets_meet_one_look_each() -> None:
    """A rule for what comes from workloads, and one for what is invalid: however many workloads there are."""
    rendered = chains(masquerade=True)
    assert [len(rendered[name].rules) for name in ("leaving", "delivered")] == [1, 1]


def test_own_sources_leave_where_nothing_is_masqueraded() -> None:
    """Without masquerading only what lost the port that it came by is kept back."""
    with_it, without = (chains(masquerade=on)["leaving_workload"].rules for on in (True, False))
    assert "a workload's own source to outside" in with_it[-1]
    assert without == with_it[: len(without)]
    assert all("outside" not in rule for rule in without)


def test_the_nodes_own_is_let_alone() -> None:
    """What comes by the loopback, and all from outside where no answers to a masqueraded workload come from there."""
    with_it, without = (chains(masquerade=on)["invalid_to_node"].rules for on in (True, False))
    (own_with,), (own_without,) = ([rule for rule in rules if "node's own" in rule] for rules in (with_it, without))
    assert '"iiftype"' in own_with
    assert '"iifgroup"' in own_without
    assert [rule for rule in with_it if rule != own_with] == [rule for rule in without if rule != own_without]
