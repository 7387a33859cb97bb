"""The chains of combinations of policies that select a workload for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from netplumb.models.errors import Retryable, StepError
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.models.settings import Settings
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.loop.node import NodeWide
from tests.unit.decide.policies.manifests import DENY_INGRESS, policies
from tests.unit.decide.policies.test_policed_flows import workload

POLICIES = PolicySet(tuple(policies(DENY_INGRESS)))
WEB = workload("web", "10.0.0.2")


class Table:
    """What is written to a kernel of which nothing is read."""

    def __init__(self, *errors: StepError) -> None:
        self.steps: list[Step] = []
        self.errors = list(errors)

    def apply_node(self, steps: Sequence[Step]) -> list[StepError]:
        self.steps += steps
        return self.errors


@pytest.fixture
def nodewide() -> NodeWide:
    """A node with policies, and as yet no workload."""
    made = NodeWide(
        settings=Settings(),
        node_addresses=tuple,
        prefixes=tuple,
        elements=lambda _: (),
        record_sysctl=lambda *_: None,
        forget_sysctl=lambda _: None,
    )
    made.policing.take(POLICIES, ())
    made.node, made.ready = replace(made.node, policies=POLICIES), True
    return made


def test_a_new_combination_is_a_chain_and_no_pass(nodewide: NodeWide) -> None:
    """Of the first workload alone that these policies select."""
    nodewide.policing.noticed(WEB)
    table = Table()
    assert nodewide.add_chains(cast("LinuxKernel", table))
    (combination,) = selection(POLICIES).of(WEB).combinations
    assert [(it.verb, it.thing.key[1]) for it in table.steps] == [(Verb.ADD, combination.chain)]
    assert not nodewide.is_outdated
    nodewide.policing.noticed(workload("db", "10.0.0.3"))
    assert not nodewide.is_outdated


def test_a_chain_that_is_refused_makes_a_pass_due(nodewide: NodeWide) -> None:
    nodewide.policing.noticed(WEB)
    assert not nodewide.add_chains(cast("LinuxKernel", Table(Retryable("busy"))))
    assert nodewide.is_outdated


def test_whatever_else_is_outdated_takes_a_pass(nodewide: NodeWide) -> None:
    """Nothing is written then."""
    nodewide.policing.noticed(WEB)
    nodewide.ready = False
    table = Table()
    assert not nodewide.add_chains(cast("LinuxKernel", table))
    nodewide.ready = True
    nodewide.policing.take(NO_POLICIES, (WEB,))
    assert not nodewide.add_chains(cast("LinuxKernel", table))
    assert not table.steps
