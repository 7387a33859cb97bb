"""What the nftables table should hold of attachments, while wishes change and passes have yet to follow."""

from __future__ import annotations

import pytest

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import Link, Scope
from netplumb.models.network import Node
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.decide.render import render_own_elements
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.status.statuses import Statuses
from tests.unit.benches import Bench, wish

PORTS = ("8080:80",)
LINK = Link(Scope.NODE, "np0", "veth", mac=bytes(6), mtu=1500, group=0, alias="", master=0, index=9)


@pytest.fixture
def results(bench: Bench) -> Results:
    desired = bench.desired
    return Results(desired, Statuses(desired, Node), lambda *_: None, lambda *_: None, netns_gone_grace_s=1)


def passed(results: Results, record: Attachment, reach: Reach = Reach.OPEN) -> None:
    """A pass for the record has ended, as if it had been made before a wish that came since."""
    there = reach is Reach.OPEN
    outcome = Outcome(record.key, record.generation, reach, node_link=LINK if there else None)
    outcome.given = (record, Node())
    outcome.desired = list(render_own_elements(record)) if there else []
    results.finish(outcome)


async def test_a_port_that_was_handed_over_is_the_next_ones_before_any_pass(bench: Bench, results: Results) -> None:
    """What the last pass made of who had it is not brought back, nor what a pass makes that was under way."""
    passed(results, before := bench.desired.attach(wish(port_mappings=PORTS), 7))
    bench.desired.attach(wish(), 7)
    passed(results, taker := bench.desired.attach(wish("db", port_mappings=PORTS), 8))
    assert {*results.last_passes.elements(Node())} == {*render_own_elements(taker)}
    passed(results, before)
    assert {*results.last_passes.elements(Node())} == {*render_own_elements(taker)}


async def test_a_port_that_interfaces_share_is_one_of_them(bench: Bench, results: Results) -> None:
    """Another interface's wish changes what this one serves, which is no other wish for it."""
    passed(results, bench.desired.attach(wish(if_name="eth1", port_mappings=PORTS), 7))
    passed(results, bench.desired.attach(wish(port_mappings=PORTS), 7))
    elements = [it for it in results.last_passes.elements(Node()) if it.set.startswith("port")]
    assert len({it.key for it in elements}) == len(elements) == 4


async def test_where_there_is_nothing_yet_there_are_no_elements(bench: Bench, results: Results) -> None:
    """Also with another wish: a port that leads nowhere is not taken from whoever answers it on the node."""
    passed(results, bench.desired.attach(wish(port_mappings=PORTS), 7), Reach.MISSING)
    bench.desired.attach(wish(port_mappings=("8081:80",)), 7)
    assert not [*results.last_passes.elements(Node())]
