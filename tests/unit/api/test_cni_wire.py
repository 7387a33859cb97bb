"""What plugin and daemon say to each other: a whole message is told from everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.api.cni.wire import REQUEST_MAX_BYTES, MalformedRequest, answer, environment, lengths, socket_path


def test_the_socket_lies_beside_that_of_grpc() -> None:
    """So that one setting tells of both."""
    assert socket_path(Path("/run/netplumb/workloadnet.sock")) == Path("/run/netplumb/workloadnet.sock.cni")


def test_a_header_tells_two_lengths() -> None:
    assert lengths(b"netplumb-cni 1 120 4096\n") == (120, 4096)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"netplumb-cni 2 1 1\n",
        b"netplumb-cni 1 1\n",
        b"netplumb-cni 1 -1 1\n",
        b"netplumb-cni 1 1 1",
        b"netplumb-cni 1 1 1\n\n",
        b"netplumb-cni 1 \xd9\xa1 1\n",
    ],
)
def test_any_other_header_is_malformed(header: bytes) -> None:
    with pytest.raises(MalformedRequest):
        lengths(header)


@given(header=st.binary(max_size=80))
def test_no_header_gets_past_with_another_error(header: bytes) -> None:
    """Random bytes are refused as such."""
    with pytest.raises(MalformedRequest):
        lengths(header)


def test_a_gc_of_twenty_thousand_fits_and_what_holds_up_everybody_does_not() -> None:
    """Two megabytes are what may be taken apart where others wait."""
    named = len(b'{"containerID":"%064x","ifname":"eth0"},' % 1)
    assert lengths(b"netplumb-cni 1 0 %d\n" % (20_000 * named)) == (0, 20_000 * named)
    with pytest.raises(MalformedRequest, match="larger than"):
        lengths(b"netplumb-cni 1 0 %d\n" % (3 << 20))


@pytest.mark.parametrize("sizes", [(REQUEST_MAX_BYTES, 1), (1, REQUEST_MAX_BYTES), (999_999_999, 999_999_999)])
def test_too_long_a_request_is_refused_before_it_is_read(sizes: tuple[int, int]) -> None:
    with pytest.raises(MalformedRequest, match="larger than"):
        lengths(b"netplumb-cni 1 %d %d\n" % sizes)


def test_the_environment_is_pairs_parted_by_nul() -> None:
    """A value may hold an equals sign or be empty; bytes that are no text are kept."""
    found = environment(b"CNI_ARGS=A=1;B=2\0CNI_NETNS=\0CNI_IFNAME=\xff\0")
    assert found == {"CNI_ARGS": "A=1;B=2", "CNI_NETNS": "", "CNI_IFNAME": "\udcff"}
    assert environment(b"") == {}


def test_an_answer_tells_its_length() -> None:
    """Without it, a part of an answer could pass for the whole."""
    assert answer(1, b'{"code": 11}') == b'1 12\n{"code": 11}'
