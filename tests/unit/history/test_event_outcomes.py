"""What a pass came to, as events: most passes are none, and a repair tells what was found and done."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import AlreadyHeld
from netplumb.models.events import Event, EventKind, EventQuery
from netplumb.models.kernel import Link, Neighbour, Scope
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.status import AttachmentStatus, Condition, Phase, PoolUsage
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.history.lasting import Lasted
from netplumb.reconciler.history.node import firewall_events, nearly_full, network_events, pool_events
from netplumb.reconciler.history.outcomes import OBJECTS_MOST, Repair, events_of, refused

KEY = AttachmentKey("web", "eth0")
RECORD = Attachment(
    spec=AttachmentSpec(workload_id="web", netns=NetnsRef(name="web")),
    source="rpc",
    generation=3,
    addresses=(ip_address("10.1.0.2"), ip_address("fd01::2")),
    mac="02:00:00:00:00:07",
)
NEIGHBOUR = Neighbour(Scope.WORKLOAD, "eth0", bytes((10, 1, 0, 1)), bytes(6))
ADDED = Step(Verb.ADD, NEIGHBOUR)
REMOVED = Step(Verb.REMOVE, NEIGHBOUR)
CHANGED = Step(Verb.CHANGE, Link(Scope.NODE, "np0", mtu=1500), Link(Scope.NODE, "np0", mtu=1400))


def status(phase: Phase, *, observed: int = 0, retries: int = 0, why: str = "") -> AttachmentStatus:
    ready = Condition("Ready", phase is Phase.ATTACHED, message=why)
    return AttachmentStatus(phase, observed, (ready,), retries)


NEW = AttachmentStatus()
ATTACHED = status(Phase.ATTACHED, observed=3)


def told(before: AttachmentStatus, after: AttachmentStatus, repair: Repair = Repair()) -> list[Event]:  # noqa: B008
    return list(events_of(RECORD, before, after, repair))


def kinds(events: list[Event]) -> list[EventKind]:
    return [event.kind for event in events]


@pytest.mark.parametrize(
    ("before", "after", "repair", "kind"),
    [
        (NEW, ATTACHED, Repair([ADDED]), EventKind.ATTACHED),
        (status(Phase.ATTACHED, observed=2), ATTACHED, Repair([CHANGED]), EventKind.CHANGED),
        (ATTACHED, ATTACHED, Repair([ADDED]), EventKind.REPAIRED),
        (ATTACHED, ATTACHED, Repair([ADDED], elsewhere=True), EventKind.ATTACHED),
        (NEW, ATTACHED, Repair([ADDED], stopped=True), EventKind.REPAIRED),
        (ATTACHED, status(Phase.RETRYING, why="EBUSY"), Repair(), EventKind.RETRYING),
        (NEW, status(Phase.FAILED, why="EEXIST"), Repair(), EventKind.FAILED),
        (ATTACHED, status(Phase.LOST, why="gone"), Repair(), EventKind.LOST),
        (ATTACHED, status(Phase.PENDING, why="gone"), Repair(), EventKind.LOST),
    ],
)
def test_what_came_of_a_pass_is_told(
    before: AttachmentStatus, after: AttachmentStatus, repair: Repair, kind: EventKind
) -> None:
    """One event, about the attachment, with the words of its condition where something is wrong."""
    (event,) = told(before, after, repair)
    assert (event.kind, event.key) == (kind, KEY)
    ready = after.condition("Ready")
    assert ready is not None
    assert ready.message in event.message


@pytest.mark.parametrize(
    ("before", "after", "repair"),
    [
        (ATTACHED, ATTACHED, Repair()),
        (NEW, ATTACHED, Repair(stopped=True)),
        (NEW, status(Phase.PENDING), Repair()),
        (status(Phase.LOST, observed=3), status(Phase.LOST, observed=3), Repair()),
    ],
)
def test_what_is_as_it_was_is_no_event(before: AttachmentStatus, after: AttachmentStatus, repair: Repair) -> None:
    """A resync, a restart, and a wait that goes on tell nothing."""
    assert told(before, after, repair) == []


def test_a_repair_tells_what_was_found_and_done() -> None:
    """Object by object, by name, with how long it had been so."""
    (event,) = told(ATTACHED, ATTACHED, Repair([ADDED, REMOVED, CHANGED], Lasted(0.25)))
    assert event.found == (
        f"{NEIGHBOUR} in the workload was missing",
        f"{NEIGHBOUR} in the workload was there",
        "link np0 had mtu 1400",
    )
    assert event.done == ("added", "removed", "has mtu 1500 again")
    assert (event.lasted_s, event.at_most) == (0.25, False)


def test_a_large_repair_names_some_and_counts_the_rest() -> None:
    (event,) = told(ATTACHED, ATTACHED, Repair([ADDED] * (OBJECTS_MOST + 3)))
    assert (event.found[-1], event.done[-1]) == ("and 3 more", "and 3 more")
    assert len(event.found) == len(event.done) == OBJECTS_MOST + 1
    assert event.message.startswith(f"{OBJECTS_MOST + 3} objects")


def test_success_after_failures_says_so() -> None:
    """Both where it is attached at last and where a repair succeeds at last."""
    (event,) = told(status(Phase.RETRYING, retries=2), ATTACHED)
    assert event.message.endswith("after 2 failed tries")
    (event,) = told(status(Phase.RETRYING, observed=3, retries=1), ATTACHED, Repair([ADDED]))
    assert event.message.endswith("after 1 failed try")


def test_a_fight_is_told_when_it_begins_and_when_it_is_over() -> None:
    fought = AttachmentStatus(Phase.ATTACHED, 3, (Condition("Fighting", True, message="route is fought over"),))
    assert kinds(told(ATTACHED, fought)) == [EventKind.FIGHTING]
    assert kinds(told(fought, fought)) == []
    assert kinds(told(fought, ATTACHED)) == [EventKind.FIGHT_OVER]


def test_a_refusal_names_who_asked() -> None:
    event = refused(KEY, "cni/pods", AlreadyHeld("address 10.1.0.2 is held by attachment db/eth0"))
    assert event.kind is EventKind.REFUSED
    assert "held by attachment db/eth0" in event.message
    assert "cni/pods" in event.message


def test_a_pool_is_told_of_once_until_there_is_room_again() -> None:
    """From nine tenths on; and again only after it fell below eight."""
    usage = [[PoolUsage("10.0.0.0/24", held, 100)] for held in (89, 90, 85, 95, 79, 91)]
    full: frozenset[str] = frozenset()
    told_at = []
    for it in usage:
        now = nearly_full(it, full)
        told_at += [event.message for event in pool_events(it, full, now)]
        full = now
    assert told_at == [f"pool 10.0.0.0/24: {held} of 100 addresses are held" for held in (90, 91)]


def test_what_drops_is_told_until_it_is_over() -> None:
    """Once, and again where it is something else; what may drop is none of it."""
    nothing, may = Condition("ForwardBlocked", False), Condition("ForwardFiltered", True, "", "may")
    one, other = Condition("ForwardBlocked", True, "", "one"), Condition("ForwardBlocked", True, "", "other")
    seen = [(nothing,), (one, may), (one,), (other,), (nothing, may)]
    told = [it for before, after in pairwise(seen) for it in firewall_events(before, after)]
    assert [it.message for it in told[:2]] == ["one", "other"]
    assert {it.kind for it in told[:2]} == {EventKind.FORWARD_BLOCKED}
    assert [it.kind for it in told[2:]] == [EventKind.FORWARD_FREE]


def test_another_uplink_is_told_with_what_it_was() -> None:
    was, now = NodeNetwork(uplinks=frozenset({"eth0"}), uplink_mtu=1500), NodeNetwork()
    (event,) = network_events(was, now)
    assert event.message == "no uplink; it was uplink eth0, MTU 1500"
    assert list(network_events(was, was)) == []


@pytest.mark.parametrize(
    ("about", "asked"), [("", True), ("web", True), ("web/eth0", True), ("web/eth1", False), ("we", False)]
)
def test_a_query_asks_for_a_workload_or_one_interface(about: str, asked: bool) -> None:
    event = Event(EventKind.DETACHED, KEY, "", at=5.0)
    assert EventQuery(about).asks_for(event) is asked
    assert not EventQuery(about, since=6.0).asks_for(event)
    assert EventQuery(about).asks_for(Event(EventKind.STARTED, None, "")) is (not about)
