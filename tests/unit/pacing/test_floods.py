"""Floods: who tells of too much is muted until it is quiet, and nobody else is."""

from __future__ import annotations

from netplumb.reconciler.pacing.floods import HEARD_S, Floods

FLOOD = 80_000  # messages in a second
ORDINARY = 200


def second(floods: Floods[str], now: float, **told: int) -> dict[str, int]:
    """What of a second's messages is looked at, with a turn for each hundredth."""
    heeded = dict.fromkeys(told, 0)
    for turn in range(100):
        for namespace, messages in told.items():
            heeded[namespace] += sum(floods.heeds(namespace) for _ in range(messages // 100))
        floods.settle(now + turn / 100)
    return heeded


def test_a_flood_is_not_listened_to() -> None:
    """But for its beginning; and whoever tells what workloads tell is heard beside it."""
    floods = Floods[str]()
    heeded = {"mallory": 0, "web": 0}
    for now in range(10):
        for namespace, messages in second(floods, now, mallory=FLOOD, web=ORDINARY).items():
            heeded[namespace] += messages
    assert floods.muted == {"mallory"}
    assert heeded["mallory"] * HEARD_S < 0.5
    assert heeded["web"] == 10 * ORDINARY


def test_what_takes_longer_to_look_at_is_listened_to_less() -> None:
    """However few messages that are: what they took is what counts."""
    floods = Floods[str]()
    heeded = 0
    for turn in range(200):
        heeded += sum(floods.heeds("mallory") for _ in range(50))
        floods.settle(turn / 100, heard_s=HEARD_S * 10)
    assert floods.muted == {"mallory"}
    assert heeded * HEARD_S * 10 < 0.5


def test_who_is_quiet_again_is_heard_again() -> None:
    """After a while, and then for more than a moment. The beginning and the end are told, and nothing in between."""
    floods = Floods[str]()
    told = []
    for now in range(3):
        for _ in range(FLOOD):
            floods.heeds("mallory")
        told.append(floods.settle(float(now)))
    assert told == [{"mallory"}, set(), set()]
    changes = [(now, changed) for now in range(3, 120) if (changed := floods.settle(float(now)))]
    assert [changed for _, changed in changes] == [{"mallory"}]
    assert not floods.muted
    second(floods, 120.0, mallory=ORDINARY)
    assert not floods.muted


def test_a_number_that_is_anothers_is_forgotten() -> None:
    floods = Floods[str]()
    second(floods, 0.0, mallory=FLOOD)
    floods.forget("mallory")
    assert not floods.muted
    assert floods.settle(1.0) == set()
