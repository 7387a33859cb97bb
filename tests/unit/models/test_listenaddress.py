"""Addresses to listen on, as people write them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from netplumb.models.listenaddress import ListenAddress, TcpAddress, UnixAddress, listen_address
from netplumb.models.settings import Settings


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9478", TcpAddress(ip_address("127.0.0.1"), 9478)),
        ("[::1]:65535", TcpAddress(ip_address("::1"), 65535)),
        ("unix:/run/netplumb/metrics.sock", UnixAddress(Path("/run/netplumb/metrics.sock"))),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: ListenAddress) -> None:
    assert listen_address(text) == listen_address(address) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "wrong",
    [
        *("localhost:9478", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+1", "127.0.0.1:٣"),
        *("::1:9478", "[127.0.0.1]:9478", ":9478", "unix:relative", "unix:", "", 9478, None, True),
    ],
)
def test_what_is_no_address_is_refused_with_how_it_is_written(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"is not like 127\.0\.0\.1:9478"):
        listen_address(wrong)


def test_a_socket_of_metrics_is_one_that_can_be() -> None:
    """Its path is bounded as that of gRPC's is."""
    with pytest.raises(ValueError, match="a unix socket's path holds at most"):
        Settings.model_validate({"metrics": f"unix:/{'x' * 200}"})
