"""Who holds too much of a table of flows that is nearly full."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from netplumb.models.flows import NO_CROWDING, Crowding, Flow
from netplumb.models.network import Node
from netplumb.models.nft import NftChain
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.crowding import (
    Holder,
    Shares,
    crowding,
    holder_of,
    over_level,
    shares,
    to_forget,
)
from netplumb.reconciler.decide.render.crowding import crowding_of, render_crowding
from netplumb.reconciler.decide.suspects import suspects
from netplumb.reconciler.history.crowding import crowding_condition

MOST = 64_000
WEB, DB, OUTSIDE = b"\x0a\1\0\2", b"\x0a\1\0\3", b"\xc0\0\2\2"
LINKS = {WEB: ("npweb",), DB: ("npdb2", "npdb1")}


def flow(source: bytes, answerer: bytes) -> Flow:
    return Flow(17, (source, 9), (answerer, 9), (answerer, 9), (source, 9))


def holder(link: str, *, begins: bool = True) -> Holder:
    return Holder(link, begins, frozenset({link}))


def held(amounts: Mapping[str, int], *, others: int = 0) -> Shares:
    return Shares(sum(amounts.values()) + others, MOST, {holder(link): count for link, count in amounts.items()})


def over(found: Shares) -> dict[str, int]:
    return {it.link: count for it, count in over_level(found).items()}


def test_a_flow_is_its_sources_and_from_elsewhere_that_of_whom_it_leads_to() -> None:
    """By the link of the workload's default route, with all links that its packets come by."""
    assert holder_of(flow(WEB, DB), LINKS) == Holder("npweb", True, frozenset({"npweb"}))
    found = holder_of(flow(OUTSIDE, DB), LINKS)
    assert found == Holder("npdb1", False, frozenset())
    assert found is not None
    assert found.links == {"npdb1", "npdb2"}
    assert holder_of(flow(OUTSIDE, OUTSIDE), LINKS) is None


def test_a_part_of_the_flows_tells_of_all() -> None:
    sample = [flow(WEB, DB)] * 6 + [flow(OUTSIDE, DB)] * 3 + [flow(OUTSIDE, OUTSIDE)]
    found = shares(sample, LINKS, 50_000, MOST)
    assert found.held == {holder("npweb"): 30_000, holder("npdb1", begins=False): 15_000}
    assert shares([], LINKS, 50_000, MOST).held == {}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (held({"mallory": 58_000, "web": 400, "db": 20}), {"mallory": 58_000 - 47_580}),
        (held({"mallory": 30_000, "oscar": 28_000, "web": 400}), {"mallory": 6_200, "oscar": 4_200}),
        (held({"mallory": 40_000, "web": 400}), {}),  # there is room
        (held({"web": 9_000}, others=52_000), {}),  # the node's own are nobody's to bound, and web's are not the reason
        (held({f"web-{number}": 600 for number in range(100)}), {}),  # no part of it is large
    ],
)
def test_who_holds_more_than_the_level_is_in_the_way(found: Shares, expected: Mapping[str, int]) -> None:
    assert over(found) == expected


def test_flows_are_forgotten_once_others_find_no_room() -> None:
    """Down to where the table counts as nearly full; of each by how much it holds beyond its part."""
    found = held({"mallory": 58_000, "web": 400})
    assert to_forget(found, over_level(found)) == {}
    found = held({"mallory": 38_000, "oscar": 25_500, "web": 400})
    gone = to_forget(found, over_level(found))
    assert {it.link for it in gone} == {"mallory", "oscar"}
    assert found.kept - sum(gone.values()) == pytest.approx(MOST * 7 / 8, abs=2)
    assert to_forget(held({}, others=MOST), {}) == {}


def test_nothing_is_rendered_while_nobody_is_in_the_way() -> None:
    assert not list(render_crowding(Node()))
    assert crowding([]) == NO_CROWDING


def test_whom_the_chains_bound_is_read_back_from_them() -> None:
    found = crowding([holder("npweb"), Holder("npdb1", False, frozenset({"npdb1", "npdb2"}))])
    assert found == Crowding(frozenset({"npweb"}), frozenset({"npdb1", "npdb2"}))
    chains = list(render_crowding(Node(crowding=found)))
    assert crowding_of(chains) == found
    assert crowding_of([]) == NO_CROWDING
    assert crowding_of([NftChain("crowding_begin_whose", rules=('{"expr":[null]}',))])  # somebody else's rule


def test_no_flow_is_looked_at_for_it() -> None:
    """The chains bound new ones; a look at a table that is nearly full would be the dearest there is."""
    node = Node(crowding=Crowding(frozenset({"npweb"})))
    assert not suspects(Step(Verb.ADD, chain) for chain in render_crowding(node))


def test_a_table_without_a_bound_is_never_full() -> None:
    """Nor is one that is not there."""
    for kept in (0, 1_000_000):
        assert not Shares(kept, 0).is_nearly_full
    assert Shares(56_000, MOST).is_nearly_full
    assert not Shares(55_999, MOST).is_nearly_full


def test_a_table_that_is_full_of_many_is_told_too() -> None:
    (told,) = crowding_condition(held({}, others=60_000), {}, {})
    assert told.reason == "HeldByMany"
    assert "nf_conntrack_max=128000" in told.message
    assert not list(crowding_condition(held({"web": 1000}), {}, {}))
