"""Whom the words of a command line mean."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.errors import InvalidRequest
from netplumb.reconciler.tracing.ends import end, version_of

OWN = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]


def attachment(workload_id: str, if_name: str, *addresses: str, holder: str = "") -> Attachment:
    return Attachment(
        spec=AttachmentSpec(workload_id=workload_id, netns=NetnsRef(name=workload_id), if_name=if_name),
        source="rpc",
        mac="02:00:00:00:00:01",
        addresses=tuple(ip_address(it) for it in addresses),
        default_route_by=holder or if_name,
    )


KNOWN = [
    attachment("web", "eth0", "10.99.0.2", holder="eth1"),
    attachment("web", "eth1", "10.99.0.3", "fd99::3", holder="eth1"),
    attachment("db", "eth0", "10.99.0.4"),
]


@pytest.mark.parametrize(
    ("word", "name", "is_node", "of_workload"),
    [
        ("web", "web/eth1", False, True),
        ("web/eth0", "web/eth0", False, True),
        ("10.99.0.4", "db/eth0", False, True),
        ("node", "node", True, False),
        ("192.0.2.1", "node (192.0.2.1)", True, False),
        ("203.0.113.7", "203.0.113.7", False, False),
    ],
)
def test_a_word_means_somebody(word: str, name: str, is_node: bool, of_workload: bool) -> None:
    """A workload is meant by the interface that holds its default route; an address by whoever has it."""
    found = end(word, KNOWN, OWN)
    assert (found.name, found.is_node, found.attachment is not None) == (name, is_node, of_workload)


def test_the_beginning_of_an_id_will_do() -> None:
    """Of the workload's or the container's, where one alone begins so; a whole id is the beginning of no other."""
    known = [*KNOWN, attachment("web-1", "eth0", "10.99.0.9")]
    for word, name in (("d", "db/eth0"), ("d/eth0", "db/eth0"), ("web-", "web-1/eth0"), ("web", "web/eth1")):
        assert end(word, known, OWN).name == name
    with pytest.raises(InvalidRequest, match="'we' may be web or web-1"):
        end("we", known, OWN)


def test_a_word_that_means_nobody_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"'cache' is no workload.*web/eth0, web/eth1, db/eth0"):
        end("cache", KNOWN, OWN)
    for word, instead in (
        ("203.0.113.7:443", "for a port: 203.0.113.7 --port 443"),
        ("[2001:db8::7]:443", "for a port: 2001:db8::7 --port 443"),
        ("example.com", "names are not looked up: say its address"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            end(word, KNOWN, OWN)
        assert instead in str(refused.value)


def test_the_family_is_one_that_both_have() -> None:
    """IPv4 where both have both."""
    web, db, node = (end(word, KNOWN, OWN) for word in ("web", "db", "node"))
    assert version_of(web, node, ipv6=False) == 4
    assert version_of(web, node, ipv6=True) == 6
    assert version_of(web, end("2001:db8:9::9", KNOWN, OWN), ipv6=False) == 6
    with pytest.raises(InvalidRequest, match="no address of the same family"):
        version_of(web, db, ipv6=True)
