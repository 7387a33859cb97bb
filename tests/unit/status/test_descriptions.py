"""What is told of each object: as desired, missing, other than desired, or there and not wanted."""

from __future__ import annotations

from netplumb.models.kernel import Link, LinkUp, Neighbour, Route, Scope
from netplumb.models.status import DescribedObject
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.status.descriptions import described

LINK = Link(Scope.NODE, "np0", mtu=1500)
UP = LinkUp(Scope.NODE, "np0")
ROUTE = Route(Scope.WORKLOAD, bytes(4), 0, "eth0", gateway=bytes((169, 254, 77, 1)))
STALE = Neighbour(Scope.NODE, "np0", bytes((10, 1, 0, 9)), bytes(6))


def test_each_object_says_how_it_stands() -> None:
    steps = [
        Step(Verb.CHANGE, LINK, Link(Scope.NODE, "np0", mtu=1400)),
        Step(Verb.ADD, ROUTE),
        Step(Verb.REMOVE, STALE),
    ]
    assert list(described([LINK, UP, ROUTE], steps)) == [
        DescribedObject(Scope.NODE, "link", str(LINK), "has mtu 1400"),
        DescribedObject(Scope.NODE, "link_up", str(UP)),
        DescribedObject(Scope.WORKLOAD, "route", str(ROUTE), "missing"),
        DescribedObject(Scope.NODE, "neighbour", str(STALE), "not wanted"),
    ]
