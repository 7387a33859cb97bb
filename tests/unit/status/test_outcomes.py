"""Statuses: what came of a pass, in a phase and in conditions."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import Conflict, DumpInterrupted, Retryable, StepError, Terminal, TooLarge
from netplumb.models.kernel import Link, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.network import Families
from netplumb.models.status import AttachmentStatus, Condition, Phase
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.status.outcomes import phase_of, status_of, worst_of

KEY = AttachmentKey("web", "eth0")
LINK = Link(Scope.NODE, node_if_name(KEY))


def attachment(source: str = "rpc", generation: int = 3) -> Attachment:
    return Attachment(
        spec=AttachmentSpec(workload_id="web", netns=NetnsRef(name="web")),
        source=source,
        generation=generation,
        addresses=(ip_address("10.1.0.2"), ip_address("fd01::2")),
        mac="02:00:00:00:00:07",
    )


def outcome(*errors: StepError, link: Link | None = LINK, reach: Reach = Reach.OPEN, v6: bool = True) -> Outcome:
    words = "" if reach is Reach.OPEN else "/run/netns/web does not exist"
    return Outcome(
        KEY,
        3,
        reach=reach,
        reach_message=words,
        families=Families(v6=v6),
        node_link=link,
        errors=list(errors),
    )


def status(
    what: Outcome,
    *,
    source: str = "rpc",
    before: AttachmentStatus | None = None,
    repaired: int = 0,
    pool_removed: tuple[str, ...] = (),
    held_s: float = 0.0,
    muted: bool = False,
) -> AttachmentStatus:
    return status_of(
        attachment(source),
        what,
        before or AttachmentStatus(),
        repaired=repaired,
        pool_removed=pool_removed,
        held_s=held_s,
        muted=muted,
    )


def condition(of: AttachmentStatus, type_: str) -> Condition:
    found = of.condition(type_)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("source", "what", "phase"),
    [
        ("rpc", outcome(), Phase.ATTACHED),
        ("rpc", outcome(Retryable("busy")), Phase.RETRYING),
        ("rpc", outcome(Retryable("busy"), Terminal("no")), Phase.FAILED),
        ("rpc", outcome(Conflict("taken"), link=None), Phase.FAILED),
        ("rpc", outcome(link=None, reach=Reach.MISSING), Phase.LOST),
        ("rpc", outcome(link=None, reach=Reach.OTHER), Phase.LOST),
        ("file/web.yaml", outcome(link=None, reach=Reach.MISSING), Phase.PENDING),
        ("file/web.yaml", outcome(link=None, reach=Reach.WRONG), Phase.PENDING),
        ("rpc", outcome(reach=Reach.MISSING), Phase.ATTACHED),
    ],
)
def test_the_phase_tells_what_the_pass_came_to(source: str, what: Outcome, phase: Phase) -> None:
    """Failed only where no retry heals it, Lost only for an RPC whose namespace took the interface with it."""
    assert phase_of(attachment(source), what) is phase


def test_ready_is_true_exactly_when_attached() -> None:
    """One condition to wait for, whatever the phase."""
    assert condition(status(outcome()), "Ready").status
    for what in (outcome(Retryable("busy")), outcome(Terminal("no")), outcome(link=None, reach=Reach.MISSING)):
        assert not condition(status(what), "Ready").status


def test_the_worst_error_is_told_with_how_many_more_there_are() -> None:
    """What no retry heals is told first; the others are counted."""
    first, terminal = Retryable("busy", reason="Busy"), Terminal("no", reason="No")
    assert worst_of([first, terminal]) is terminal
    assert worst_of([first, Retryable("later")]) is first
    ready = condition(status(outcome(first, terminal)), "Ready")
    assert (ready.reason, ready.message) == ("No", "no (and 1 more)")


def test_the_generation_is_observed_only_when_it_is_in_the_kernel() -> None:
    """A failed pass keeps the generation that was last attached."""
    before = AttachmentStatus(observed_generation=2)
    assert status(outcome(), before=before).observed_generation == 3
    assert status(outcome(Retryable("busy")), before=before).observed_generation == 2


def test_retries_are_counted_until_it_works() -> None:
    """Each failed pass counts one, waiting for a namespace counts none, success starts anew."""
    before = AttachmentStatus(retries=4)
    assert status(outcome(Retryable("busy"), Retryable("too")), before=before).retries == 5
    assert status(outcome(link=None, reach=Reach.MISSING), source="file/x", before=before).retries == 4
    assert status(outcome(), before=before).retries == 0


def test_repairs_add_up() -> None:
    """Repaired objects are counted for the life of the attachment."""
    assert status(outcome(), before=AttachmentStatus(repairs=2), repaired=3).repairs == 5


def test_ipv6_that_is_off_is_told() -> None:
    """An attachment with an IPv6 address that is not assigned says so."""
    assert condition(status(outcome(v6=False)), "IPv6Disabled").status
    assert status(outcome()).condition("IPv6Disabled") is None


@pytest.mark.parametrize(
    ("reach", "reason"),
    [
        (Reach.MISSING, "PathMissing"),
        (Reach.OTHER, "PathIsAnotherNamespace"),
        (Reach.WRONG, "PathIsNoNamespace"),
    ],
)
def test_a_live_interface_out_of_reach_is_told(reach: Reach, reason: str) -> None:
    """While only the path is gone the attachment works, and says what can no longer be repaired."""
    unreachable = condition(status(outcome(reach=reach)), "NetnsUnreachable")
    assert unreachable.reason == reason
    assert "/run/netns/web" in unreachable.message
    pending = condition(status(outcome(link=None, reach=reach), source="file/x"), "Ready")
    assert pending.reason == reason


def test_a_lost_interface_tells_why() -> None:
    """Lost names the namespace that went."""
    ready = condition(status(outcome(link=None, reach=Reach.MISSING)), "Ready")
    assert ready.reason == "NetnsGone"
    assert "/run/netns/web" in ready.message


def test_a_removed_pool_is_told_with_its_addresses() -> None:
    """Addresses of no pool are kept until Detach, and named."""
    assert "10.1.0.2" in condition(status(outcome(), pool_removed=("10.1.0.2",)), "PoolRemoved").message


@pytest.mark.parametrize(
    ("unread", "reason"),
    [(TooLarge("there are more routes"), "MoreThanIsRead"), (DumpInterrupted("it changed"), "KeepsChanging")],
)
def test_what_is_not_read_is_told_and_not_complete(unread: StepError, reason: str) -> None:
    """It is attached, since its link is there, but what was wished for is not known to be there."""
    what = outcome()
    what.unread = unread
    told = status(what, before=AttachmentStatus(Phase.ATTACHED, observed_generation=2))
    assert not what.attached
    assert (told.phase, told.observed_generation) == (Phase.ATTACHED, 2)
    assert condition(told, "TooLarge").reason == reason
    assert str(unread) in condition(told, "TooLarge").message


def test_a_wait_that_its_cost_brings_is_told() -> None:
    """But not one that nobody would notice."""
    assert "12 s" in condition(status(outcome(), held_s=12.0), "Throttled").message
    assert status(outcome(), held_s=0.5).condition("Throttled") is None


def test_a_namespace_that_is_not_listened_to_is_told() -> None:
    """Beside a wait, if there is one too."""
    told = condition(status(outcome(), held_s=12.0, muted=True), "Throttled")
    assert told.reason == "TooManyEvents"
    assert "12 s" in told.message
