"""Host routes put back together: what is missing is added, what differs is changed, nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import Retryable
from netplumb.models.kernel import Link, Route, Scope
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.models.network import Families, Node
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.apply import Applied
from netplumb.reconciler.converge.hints import Hint
from netplumb.reconciler.converge.hostroutes import Placed, Restored, restore_host_routes
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.decide.render import render_attachment
from netplumb.reconciler.kernel.namespaces import Namespace

SOURCES = (ip_address("10.1.0.1"), ip_address("fd01::1"))
NODE = Node(node_addresses=SOURCES)


class Kernel:
    """Holds routes, and writes down what it is told to do."""

    def __init__(self, routes: Iterable[Route], *errors: Retryable) -> None:
        self.routes = tuple(routes)
        self.errors = list(errors)
        self.told: list[Step] = []
        self.indexes: dict[object, int] = {}

    def host_routes(self, names: Mapping[int, str]) -> Iterable[Route]:
        return [route for route in self.routes if route.link in names.values()]

    def apply(self, steps: Sequence[Step], namespace: Namespace | None, observed: Observed) -> Applied:
        assert namespace is None
        self.told += steps
        self.indexes = {link.name: link.index for link in observed.objects.values() if isinstance(link, Link)}
        return Applied(errors=list(self.errors))


def placed(number: int, *, v6: bool = True) -> Placed:
    key = AttachmentKey(f"w{number}", "eth0")
    record = Attachment(
        spec=AttachmentSpec(workload_id=key.workload_id, netns=NetnsRef(path="/run/netns/w")),
        source="rpc",
        addresses=tuple(source + 1 + number for source in SOURCES),
        mac=workload_mac(key),
        node_addresses=SOURCES,
    )
    return Placed(record, Hint(Link(Scope.NODE, node_if_name(key), proxy_ndp=v6 or None), None, 10 + number, 2, 0))


def routes_of(each: Placed, *, v6: bool = True) -> list[Route]:
    rendered = render_attachment(each.attachment, NODE, Families(v6=v6), reached=False)
    return [thing for thing in rendered if isinstance(thing, Route)]


ALL = [placed(number) for number in range(3)]
ROUTES = [route for each in ALL for route in routes_of(each)]


def test_what_is_whole_is_left_alone() -> None:
    """Nothing is written where nothing is missing."""
    kernel = Kernel(ROUTES)
    assert restore_host_routes(kernel, NODE, ALL) == Restored([])
    assert kernel.told == []


def test_what_went_is_added_and_what_lost_its_source_gets_it_again() -> None:
    """IPv4 routes go with the address that they prefer, IPv6 ones lose the preference."""
    left = [replace(route, prefsrc=None) for route in ROUTES if len(route.dst) == 16]
    kernel = Kernel(left)
    restored = restore_host_routes(kernel, NODE, ALL)
    steps = restored.steps
    assert kernel.told == steps
    assert restored.failed == ()
    assert {step.thing for step in steps} == set(ROUTES)
    assert {(step.verb, len(step.thing.dst)) for step in steps if isinstance(step.thing, Route)} == {
        (Verb.ADD, 4),
        (Verb.CHANGE, 16),
    }
    assert kernel.indexes == {each.hint.node.name: each.hint.index for each in ALL}


def test_nothing_is_removed() -> None:
    """A route of an attachment that is being removed, or was readdressed meanwhile, is left to its own pass."""
    kernel = Kernel([*ROUTES, replace(ROUTES[0], dst=ip_address("10.1.0.99").packed)])
    assert restore_host_routes(kernel, NODE, ALL) == Restored([])


def test_an_attachment_without_ipv6_gets_no_route_of_it() -> None:
    """Where IPv6 is switched off none is rendered."""
    one = placed(0, v6=False)
    kernel = Kernel([])
    restore_host_routes(kernel, NODE, [one])
    assert [step.thing for step in kernel.told] == routes_of(one, v6=False)


def test_whose_routes_are_refused_is_told() -> None:
    """A link that was made anew meanwhile is left to a pass of its own, the others are whole."""
    kernel = Kernel([], Retryable("ENODEV", subject=str(ROUTES[2])))
    restored = restore_host_routes(kernel, NODE, ALL)
    assert {step.thing for step in restored.steps} == set(ROUTES)
    assert restored.failed == [ALL[1].attachment.key]
