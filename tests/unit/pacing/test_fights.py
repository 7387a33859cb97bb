"""Fights: who undoes every repair at once waits longer and longer for the next; others wait for nothing."""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.kernel import Address, KernelObject, Link, LinkUp, Scope, Sysctl
from netplumb.models.nft import NftChain
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.pacing.fights import (
    FREE_REPAIRS,
    PAUSE_MOST_S,
    QUIET_S,
    SUBJECTS_MOST,
    Fights,
    part_of,
    subject_of,
)

ROUTE, LINK = "route 10.1.0.2/32 dev np1", "link np1"


def fought(fights: Fights[str], times: int, *, key: str = "web", now: float = 0.0) -> list[float]:
    """Times of the repairs of one who undoes each at once."""
    at = []
    for _ in range(times):
        now += fights.held_s(key, now) + 0.001
        at.append(now)
        fights.repaired(key, [ROUTE], now)
    return at


def test_the_first_repairs_wait_for_nothing() -> None:
    """Damage that strikes a few times in a row is repaired at once, and nobody calls it a fight."""
    fights = Fights[str]()
    at = fought(fights, FREE_REPAIRS)
    assert at[-1] < 0.1
    fights = Fights[str]()
    at = fought(fights, FREE_REPAIRS - 1)
    assert fights.held_s("web", at[-1]) == 0
    assert fights.fight("web", at[-1]) is None


def test_repairs_that_are_undone_wait_twice_as_long_each_time() -> None:
    """The pause doubles, up to a bound."""
    at = fought(Fights[str](), 30)
    pauses = [later - earlier for earlier, later in pairwise(at)][FREE_REPAIRS - 1 :]
    for shorter, longer in pairwise(pauses):
        assert abs(longer - min(2 * shorter, PAUSE_MOST_S)) < 0.01
    assert max(pauses) < PAUSE_MOST_S + 0.01


def test_a_fight_is_named_with_its_object_and_count() -> None:
    """Of several objects the one that was repaired most often is named."""
    fights = Fights[str]()
    at = fought(fights, 12)
    fights.repaired("web", [ROUTE, LINK], at[-1] + 1)
    fight = fights.fight("web", at[-1] + 1)
    assert fight is not None
    assert (fight.subject, fight.times, fight.repairs) == (ROUTE, 13, 13)
    for word in (ROUTE, "13 times"):
        assert word in str(fight)


def test_what_is_new_each_time_is_fought_over_too() -> None:
    """Who undoes repairs with ever-new objects waits as long as who does so with one; one of the last is named, and
    only some are looked at, however many there are."""
    fights = Fights[str]()
    now = 0.0
    for number in range(FREE_REPAIRS + 10):
        now += fights.held_s("web", now) + 0.001
        fights.repaired("web", (f"route {number}-{again}" for again in count()), now)
    assert fights.held_s("web", now) == PAUSE_MOST_S
    fight = fights.fight("web", now)
    assert fight is not None
    assert f"{FREE_REPAIRS + 10} repairs" in str(fight)
    assert f"route {FREE_REPAIRS + 9}-" in str(fight)


def test_what_comes_again_is_named_among_much_that_does_not() -> None:
    fights = Fights[str]()
    for number in range(5 * SUBJECTS_MOST):
        fights.repaired("web", [ROUTE, *(f"route {number}-{other}" for other in range(SUBJECTS_MOST))], 0.0)
    fight = fights.fight("web", 0.0)
    assert fight is not None
    assert (fight.subject, fight.times) == (ROUTE, 5 * SUBJECTS_MOST)


def test_what_is_left_alone_is_forgotten() -> None:
    """After a quiet moment the next damage is repaired at once, as the first one was."""
    fights = Fights[str]()
    now = fought(fights, 15)[-1]
    left_s = fights.quiet_in_s("web", now)
    assert left_s > QUIET_S
    assert fights.fight("web", now + left_s - 0.01) is not None
    assert fights.fight("web", now + left_s) is None
    fights.repaired("web", [ROUTE], now + left_s)
    assert fights.held_s("web", now + left_s) == 0


def test_a_fight_costs_others_nothing() -> None:
    """Another key has no pause, and no fight."""
    fights = Fights[str]()
    now = fought(fights, 20)[-1]
    fights.repaired("db", [ROUTE], now)
    assert fights.held_s("db", now) == 0
    assert fights.fight("db", now) is None
    assert fights.held_s("web", now) > 1


def test_the_next_look_is_when_a_pause_or_a_fight_ends() -> None:
    """Whoever keeps several fronts looks again when the first of them has something to do, and not before."""
    fights = Fights[str]()
    now = fought(fights, 14)[-1]
    assert fights.next_look_s(now) == fights.held_s("web", now)
    later = now + fights.held_s("web", now)
    assert fights.next_look_s(later) == pytest.approx(QUIET_S)
    assert [str(fight) for fight in fights.fights(later)] == [str(fights.fight("web", later))]
    assert fights.next_look_s(later + QUIET_S + 0.01) is None
    assert fights.fights(later + QUIET_S + 0.01) == []


def test_what_is_forgotten_starts_anew() -> None:
    """A key that was removed and comes again has no past."""
    fights = Fights[str]()
    now = fought(fights, 20)[-1]
    fights.forget("web")
    assert fights.held_s("web", now) == 0
    assert fights.quiet_in_s("web", now) == 0
    assert fights.next_look_s(now) is None


@given(st.lists(st.floats(QUIET_S + 0.01, 60), min_size=1, max_size=60))
def test_damage_that_leaves_time_between_is_never_a_fight(gaps: list[float]) -> None:
    """What is damaged now and then, however often, is repaired at once each time."""
    fights, now = Fights[str](), 0.0
    for gap in gaps:
        now += gap
        fights.repaired("web", [ROUTE], now)
        assert fights.held_s("web", now) == 0


@given(st.lists(st.floats(0, 120), max_size=100))
def test_a_pause_has_a_bound(gaps: list[float]) -> None:
    """However it is damaged, the next repair never waits longer than the bound."""
    fights, now = Fights[str](), 0.0
    for gap in gaps:
        now += gap
        fights.repaired("web", [ROUTE, LINK], now)
        assert 0 <= fights.held_s("web", now) <= PAUSE_MOST_S


def test_objects_are_named_without_what_changes_of_them() -> None:
    """An object that is changed differently each time is the same object, and the table is one part of the node."""
    assert subject_of(Link(Scope.NODE, "np1", mtu=1500)) == subject_of(Link(Scope.NODE, "np1", mtu=1400)) == "link np1"
    assert subject_of(LinkUp(Scope.WORKLOAD, "eth0")) == "link eth0 up in the workload"
    assert subject_of(NftChain("input", rules=("x",))) == "nft chain inet netplumb input"


def test_each_part_of_the_node_is_repaired_by_itself() -> None:
    """What others make of a kind that nobody wants is one part, so that ever-new ones are one fight."""

    def part(thing: KernelObject, verb: Verb = Verb.ADD) -> str:
        return part_of(Step(verb, thing))

    assert part(Sysctl(Scope.NODE, "net/ipv4/ip_forward", "1")) == "sysctl net.ipv4.ip_forward"
    assert part(NftChain("postrouting")) == part(NftChain("input"), Verb.REMOVE) == "table inet netplumb"
    strays = [Address(Scope.NODE, "lo", bytes((10, 9, 0, number)), 32) for number in (1, 2)]
    assert len({part(stray, Verb.REMOVE) for stray in strays}) == 1
    assert len({part(stray) for stray in strays}) == 2
