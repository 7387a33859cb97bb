"""A workload of another node is meant by its name, with its node's where several have one of that name."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplumb.models.errors import InvalidRequest
from netplumb.reconciler.decide.policies.verdict import Endpoint
from netplumb.reconciler.tracing.ends import End, end


def endpoint(node: str, name: str, address: str) -> Endpoint:
    return Endpoint(f"{name}/eth0", "default", {}, (ip_address(address),), node)


OTHERS = [endpoint("b", "db", "10.1.1.5"), endpoint("b", "web", "10.1.1.6"), endpoint("c", "web", "10.1.2.6")]


@pytest.mark.parametrize("word", ["db", "db/eth0", "b/db", "b/db/eth0"])
def test_it_is_somebody_beyond_the_node_with_its_addresses(word: str) -> None:
    assert end(word, (), (), OTHERS) == End("b/db/eth0", (ip_address("10.1.1.5"),))


def test_of_two_with_one_name_the_node_is_asked_for() -> None:
    with pytest.raises(InvalidRequest, match="'web' is on b and c: say NODE/web"):
        end("web", (), (), OTHERS)
    assert end("c/web", (), (), OTHERS).name == "c/web/eth0"
