"""A switch that others may set as well is written from one value alone, whatever was read before."""

from __future__ import annotations

import pytest

from netplumb.models.kernel import Scope, Sysctl
from netplumb.models.steps import Step, Verb
from tests.contract.worlds import linux_world

SWITCH = "net/ipv6/conf/up0/accept_ra"


@pytest.mark.parametrize(("meanwhile", "after"), [("0", "0"), ("1", "2"), ("2", "2")])
def test_what_was_set_since_a_switch_was_read_stays(meanwhile: str, after: str) -> None:
    """As a program does that makes an interface and then switches router advertisements off for it."""
    with linux_world() as world:
        world.node.ip("link add up0 type bridge")
        found = Sysctl(Scope.NODE, SWITCH, "1")
        world.node.set_sysctl(SWITCH, meanwhile)
        wanted = Sysctl(Scope.NODE, SWITCH, "2", instead_of="1")
        assert world.kernel.apply_node([Step(Verb.CHANGE, wanted, found)]) == []
        assert world.node.sysctl(SWITCH) == after


def test_a_switch_that_went_with_its_interface_is_no_error() -> None:
    with linux_world() as world:
        wanted = Sysctl(Scope.NODE, SWITCH, "2", instead_of="1")
        assert world.kernel.apply_node([Step(Verb.CHANGE, wanted, Sysctl(Scope.NODE, SWITCH, "1"))]) == []
