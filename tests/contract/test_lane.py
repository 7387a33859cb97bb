"""The straight lane of a new attachment makes what an ordinary pass makes, object by object, on the real kernel."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.kernel import KernelObject
from netplumb.models.routing import ExtraRoute
from tests.contract.worlds import ADDRESSES, NODE_ADDRESSES, linux_world, passed, planned, seen, wish

ROUTES = tuple(ExtraRoute(dst=ip_network(text)) for text in ("192.0.2.0/24", "2001:db8::/32"))
FIRST: tuple[IPAddress, ...] = ADDRESSES
MORE: tuple[IPAddress, ...] = (ip_address("10.215.0.3"), ip_address("fd15::3"))

Change = dict[str, Any]

families = st.sampled_from([slice(0, 1), slice(1, 2), slice(0, 2)])
wishes = st.fixed_dictionaries(
    {
        "mtu": st.sampled_from([0, 1280, 9000]),
        "routes": st.lists(st.sampled_from(ROUTES), unique_by=str).map(tuple),
    }
)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """What of a record may make a difference to what is rendered."""
    chosen = draw(families)
    return {
        "spec": draw(wishes),
        "addresses": (*FIRST[chosen], *(MORE[chosen] if draw(st.booleans()) else ())),
        "node_addresses": NODE_ADDRESSES[chosen] if draw(st.booleans()) else (),
        "default_route_by": draw(st.sampled_from(["eth0", ""])),
        "mac": draw(st.sampled_from(["02:00:00:00:00:01", "06:12:34:56:78:9a"])),
    }


def made(change: Change, *, lane: bool) -> tuple[set[KernelObject], list[str], bool]:
    """What is there after one pass, what another would plan, and whether the pass took steps."""
    with linux_world() as world:
        world.lane = lane
        world.place("w")
        record = _changed(wish(world), change)
        outcome = passed(world, record)
        assert outcome.attached, outcome.errors
        return seen(world, record), planned(world, record), bool(outcome.applied)


def _changed(record: Attachment, change: Change) -> Attachment:
    spec = record.spec.model_copy(update=change["spec"])
    return record.model_copy(update={**change, "spec": spec})


@settings(max_examples=25)
@given(changes())
def test_the_lane_makes_what_a_pass_makes(change: Change) -> None:
    """Whatever is wished for, both ways end with the same objects and nothing left to do; the lane took no steps, but
    where the interface has routing rules of its own, which are not of what it makes."""
    things, left, stepped = made(change, lane=True)
    assert stepped is not bool(change["default_route_by"]), "the lane gave up where nothing was in its way"
    assert left == []
    assert things == made(change, lane=False)[0]
