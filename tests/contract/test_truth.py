"""The fake is held to the real kernel: after the same damage, the same is planned in both worlds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.contract.damages import DAMAGES, Damage, inflict, is_possible
from tests.contract.worlds import World, attached, fake_world, linux_world, planned


def after(world: World, damages: Sequence[Damage]) -> list[str]:
    """What is planned after the damages, less proxy neighbours: the kernel tells the other end of a lost carrier later,
    and not at all if that is back by then."""
    attachment = attached(world)
    for damage in damages:
        inflict(world, damage)
    return [words for words in planned(world, attachment) if not words.startswith("+ neighbour proxy")]


def told_alike(damages: Sequence[Damage]) -> None:
    with fake_world() as fake, linux_world() as linux:
        assert after(fake, damages) == after(linux, damages)


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_one_damage_has_the_same_plan_in_both_worlds(damage: Damage) -> None:
    """What a damage takes with it on the fake is what it takes on the real kernel."""
    told_alike([damage])


@settings(max_examples=40)
@given(st.lists(st.sampled_from(DAMAGES), min_size=2, max_size=3, unique_by=str))
def test_damages_together_have_the_same_plan_in_both_worlds(damages: list[Damage]) -> None:
    """So it is with damages that come on top of each other."""
    assume(is_possible(damages))
    told_alike(damages)
