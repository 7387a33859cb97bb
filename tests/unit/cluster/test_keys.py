"""What keys of etcd mean, and those that mean nothing."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.cluster.etcd.entries import Keys, key_bytes, key_text, shown
from netplumb.reconciler.cluster.keys import Layout

LAYOUT = Layout("/netplumb")


@given(st.binary())
def test_each_key_has_a_text_of_its_own(key: bytes) -> None:
    assert key_bytes(key_text(key)) == key
    assert Keys(key_text(b"/" + key), is_prefix=False).begin == b"/" + key
    assert shown(key_text(key)).isprintable()
    shown(key_text(key)).encode()


@pytest.mark.parametrize("cidr", ["10.128.0.0/24", "fd80::/64"])
def test_a_prefix_is_found_in_its_key(cidr: str) -> None:
    network = ip_network(cidr)
    assert LAYOUT.prefix_in(LAYOUT.prefix_of("node-a", network)) == ("node-a", network)


@pytest.mark.parametrize(
    "rest",
    [
        "node-a/10.128.0.0/24",
        "node-a/10.128.0.0-255.255.255.0",
        "node-a/fd80:0::-64",
        "node-a/FD80::-64",
        "node-a/10.128.0.1-24",
        "/10.128.0.0-24",
        "node a/10.128.0.0-24",
        "\udcff/10.128.0.0-24",
        "node-a",
    ],
)
def test_a_prefix_that_is_written_otherwise_is_none(rest: str) -> None:
    """Of two keys that say the same one, the one that goes would take the other with it."""
    assert LAYOUT.prefix_in(LAYOUT.prefixes.first + rest) is None
