"""The loop's promise on the fake kernel: whatever one step or one read meets, another pass makes it good."""

from __future__ import annotations

from errno import EBUSY, EEXIST, EINVAL, ENOBUFS, ENODEV, ENOMEM, EOPNOTSUPP, EPERM

from hypothesis import assume, given
from hypothesis import strategies as st

from netplumb.models.attachment import NetnsRef
from netplumb.models.errors import Retryable, TooLarge
from netplumb.models.kernel import Route, Scope, scope_of
from netplumb.models.naming import node_if_name
from netplumb.reconciler.converge.preview import Preview
from tests.contract.damages import DAMAGES, Damage, inflict, is_possible
from tests.contract.worlds import FakeWorld, attached, cookie_of, fake_world, passed, path_of, planned, previewed, wish

errnos = st.sampled_from((EBUSY, EEXIST, EINVAL, ENOBUFS, ENODEV, ENOMEM, EOPNOTSUPP, EPERM))
STEPS = 24
PASSES_MOST = 3


def converges(world: FakeWorld, *, passes: int = PASSES_MOST) -> bool:
    attachment = wish(world)
    return any(passed(world, attachment).attached and not planned(world, attachment) for _ in range(passes))


@given(st.integers(0, STEPS), errnos)
def test_a_fault_of_any_step_of_an_attach_is_made_good(position: int, code: int) -> None:
    """A fresh attach that fails in any one step comes true in a pass after it."""
    with fake_world() as world:
        world.place("w")
        world.kernel.faults = {position: code}
        assert converges(world)


@given(st.sampled_from(DAMAGES), st.integers(0, STEPS), errnos)
def test_a_fault_of_any_step_of_a_repair_is_made_good(damage: Damage, position: int, code: int) -> None:
    """A repair that fails in any one step comes true in a pass after it."""
    with fake_world() as world:
        attached(world)
        inflict(world, damage)
        world.kernel.faults = {world.kernel.steps_tried + position: code}
        assert converges(world)


@given(st.dictionaries(st.integers(0, 2 * STEPS), errnos, max_size=6))
def test_any_faults_are_made_good_once_they_end(faults: dict[int, int]) -> None:
    """However many steps fail, passes go on until all is there."""
    with fake_world() as world:
        world.place("w")
        world.kernel.faults = dict(faults)
        assert converges(world, passes=len(faults) + PASSES_MOST)


def test_a_link_that_goes_while_it_is_read_is_read_again_at_once() -> None:
    """A pass, and who only asks, meet a removal by others in the middle of their reads: they look again."""
    gone = Retryable("the kernel refused a dump: ENODEV", code=ENODEV)
    with fake_world() as world:
        attachment = attached(world)
        for ask in (planned, lambda *about: passed(*about).errors):
            world.kernel.read_faults = [gone]
            assert ask(world, attachment) == []
            assert world.kernel.read_faults == []
        removing = attachment.model_copy(update={"removing": True})
        world.kernel.read_faults = [gone]
        assert planned(world, removing)


@given(st.lists(st.sampled_from(DAMAGES), max_size=5))
def test_any_damages_together_are_repaired(damages: list[Damage]) -> None:
    """Damages that come together are repaired together."""
    assume(is_possible(damages))
    with fake_world() as world:
        attached(world)
        for damage in damages:
            inflict(world, damage)
        assert converges(world)


def test_a_read_that_fails_fails_the_pass_and_changes_nothing() -> None:
    """Without a complete read nothing is planned; the next pass goes on."""
    with fake_world() as world:
        attachment = attached(world)
        inflict(world, DAMAGES[1])
        tried = world.kernel.steps_tried
        world.kernel.read_faults = [Retryable("the kernel did not answer")]
        outcome = passed(world, attachment)
        assert [str(error) for error in outcome.errors] == ["the kernel did not answer"]
        assert world.kernel.steps_tried == tried
        assert passed(world, attachment).attached


def test_what_cannot_be_read_of_a_workload_hides_nothing_of_the_node() -> None:
    """Who asks what would change is told of the failed read, and what differs on the node all the same."""
    with fake_world() as world:
        attachment = attached(world)
        world.kernel.node.drop(it for it in list(world.kernel.node.bound.values()) if isinstance(it, Route))
        whole = previewed(world, attachment)
        assert whole.obstacles == ()
        world.kernel.read_faults = [TooLarge("more than is read of it")]
        told = previewed(world, attachment)
        assert told.obstacles == (("TooLarge", "more than is read of it"),)
        assert [step for step in whole.steps if scope_of(step.thing) is Scope.NODE] == list(told.steps)
        assert told.steps
        world.kernel.read_faults = [Retryable("the kernel did not answer")] * 2
        assert previewed(world, attachment) == Preview((), (("StepFailed", "the kernel did not answer"),))
        assert not world.kernel.still_open


def test_a_namespace_is_closed_when_its_mark_cannot_be_read() -> None:
    """A read that fails between opening a namespace and the pass leaves no descriptor open, which would keep a dead
    namespace alive."""
    with fake_world() as world:
        world.place("w")
        attachment = wish(world, NetnsRef(name="w", create=True), source="file/a.yaml")
        world.kernel.read_faults = [Retryable("the kernel did not answer")]
        assert [str(error) for error in passed(world, attachment).errors] == ["the kernel did not answer"]
        assert not world.kernel.still_open


def test_a_link_renamed_while_up_is_made_anew_elsewhere_whole() -> None:
    """Linux 6.2 and later rename a link that is up, with all that is on it: what was seen under the new name goes with
    the link, and is planned anew."""
    with fake_world() as world:
        attachment = attached(world)
        name = node_if_name(attachment.key)
        index = world.kernel.node.links[name].index
        world.kernel.node.rename(name, "renamed0")
        world.place("w2")
        spec = attachment.spec.model_copy(update={"netns": NetnsRef(path=path_of("w2"))})
        moved = attachment.model_copy(update={"spec": spec, "netns_cookie": cookie_of(world, path_of("w2"))})
        assert passed(world, moved, hint_index=index).attached
        assert planned(world, moved) == []
