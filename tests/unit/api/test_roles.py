"""What remote clients may do."""

from __future__ import annotations

import pytest

from netplumb.api.server.roles import READING, Roles
from netplumb.api.v1 import netplumb_pb2 as pb

METHODS = {method.name for method in pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].methods}
ROLES = Roles(read=frozenset({"viewer"}), all=frozenset({"agent"}))


def test_what_reads_and_what_writes_is_all_that_there_is() -> None:
    """A call that is added writes until it is said to read."""
    assert {"Attach", "Detach", "GC", "Apply", "Delete"} == METHODS - READING
    assert READING < METHODS


@pytest.mark.parametrize("method", sorted(METHODS))
def test_who_has_no_role_may_do_nothing(method: str) -> None:
    for names in ((), ("stranger",), ("agent.evil", "Agent", "")):
        assert "has no role here" in ROLES.refusal(names, method)
    assert ROLES.refusal(("stranger", "agent"), method) == ""


@pytest.mark.parametrize("method", sorted(METHODS))
def test_who_may_read_may_read_alone(method: str) -> None:
    """What a dry run would do is read too."""
    assert bool(ROLES.refusal(("viewer",), method)) is (method not in READING)
    assert ROLES.refusal(("viewer",), method, dry_run=True) == ""
