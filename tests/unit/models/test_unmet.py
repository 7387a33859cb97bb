"""What is not as wished, by what is known of it: the one place from which all views take it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.status import (
    BROKEN_WISHES,
    NODE_OBSTACLES,
    AttachmentStatus,
    AttachmentView,
    Condition,
    Phase,
    Unmet,
    node_unmet,
)

READY = Condition("Ready", True, "Attached")
WEB = AttachmentKey("web", "eth0")


def view(phase: Phase, *conditions: Condition, **fields: Any) -> AttachmentView:
    addresses = fields.pop("addresses", ())
    spec = AttachmentSpec.model_validate({"workload_id": "web", "netns": NetnsRef(name="web"), "addresses": addresses})
    record = Attachment(spec=spec, source="rpc", mac="02:00:00:00:00:01", **fields)
    return AttachmentView(record, AttachmentStatus(phase, conditions=conditions))


def told(it: AttachmentView) -> list[tuple[str, str]]:
    return [(unmet.reason, unmet.message) for unmet in it.unmet]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.ATTACHED])
def test_whatever_is_not_attached_has_a_reason(phase: Phase) -> None:
    """That of its condition Ready, and where no pass has ended yet, that."""
    assert told(view(phase, Condition("Ready", False, "Because", "of this"))) == [("Because", "of this")]
    assert told(view(phase)) == [(phase.value, "no pass over it has ended yet")]


def test_what_is_attached_needs_no_reason() -> None:
    assert view(Phase.ATTACHED, READY).unmet == ()


@pytest.mark.parametrize("type_", ["AddressTaken", "Fighting", "HostPortInUse", "NetnsUnreachable", "RoutedNowhere"])
def test_attached_is_not_as_wished_while_traffic_may_not_flow(type_: str) -> None:
    """The condition's type is the reason; once it does not hold any more, there is none."""
    condition = Condition(type_, True, "SomeReason", "in the way")
    assert view(Phase.ATTACHED, READY, condition).unmet == (Unmet(WEB, type_, "in the way", "rpc"),)
    assert view(Phase.ATTACHED, READY, replace(condition, status=False)).unmet == ()


@pytest.mark.parametrize("type_", ["PoolRemoved", "Rebuilt"])
def test_what_takes_nothing_of_what_was_wished_is_no_reason(type_: str) -> None:
    assert view(Phase.ATTACHED, READY, Condition(type_, True)).unmet == ()


def test_a_stated_address_of_a_family_that_is_off_is_a_reason() -> None:
    """That one was wished for; of what pools give, a workload may do without, but not by the node."""
    off = Condition("IPv6Disabled", True, "SwitchedOffInWorkload", "off")
    assert told(view(Phase.ATTACHED, READY, replace(off, reason="SwitchedOff"))) == [("IPv6Disabled", "off")]
    assert told(view(Phase.ATTACHED, READY, off, addresses=("fd00::7",))) == [("IPv6Disabled", "off")]
    assert told(view(Phase.ATTACHED, READY, off, addresses=("10.0.0.7",))) == []


def test_what_is_detached_is_told_before_its_removal_begins() -> None:
    assert [reason for reason, _ in told(view(Phase.ATTACHED, READY, removing=True))] == ["Detaching"]


@pytest.mark.parametrize(
    ("condition", "reasons"),
    [
        (Condition("NodeInSync", True, "Converged"), []),
        (Condition("NodeInSync", False, "NodeFailed", "EPERM"), ["NodeFailed"]),
        (Condition("EtcdAway", True, "NotFollowed", "what was last known holds"), []),
        (Condition("EtcdWentBack", True, "WentBack"), ["EtcdWentBack"]),
        (Condition("Fighting", True, "KeepsChanging"), ["Fighting"]),
        (Condition("ForwardBlocked", True, "ForeignChain"), ["ForwardBlocked"]),
        (Condition("ForwardBlocked", False, "NothingInTheWay"), []),
        (Condition("ForwardFiltered", True, "ForeignRule"), []),
        (Condition("ForwardingOff", True, "InterfaceSwitch"), ["ForwardingOff"]),
        (Condition("PolicyRouted", True, "RuleInTheWay"), ["PolicyRouted"]),
        (Condition("StoreRebuilt", True, "StoreLost"), []),
    ],
    ids=lambda value: f"{value.type} {value.status}" if isinstance(value, Condition) else "",
)
def test_the_node_is_not_as_wished_while_traffic_cannot_flow(condition: Condition, reasons: list[str]) -> None:
    assert [it.reason for it in node_unmet([condition], NODE_OBSTACLES)] == reasons


def test_a_wish_that_cannot_be_read_is_a_reason_for_the_node_alone() -> None:
    """It says nothing of an attachment that is asked for by its name."""
    broken = [Condition("StateFileBroken", True, "Unreadable", "file/a.yaml: line 3")]
    assert node_unmet(broken, NODE_OBSTACLES) == ()
    assert [it.reason for it in node_unmet(broken, NODE_OBSTACLES | BROKEN_WISHES)] == ["StateFileBroken"]
