"""Who may ask for the page: a person at this node's browser, and no page of somebody else."""

from __future__ import annotations

import pytest

from netplumb.api.page.access import refusal


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9479", "127.0.0.1", "[::1]:9479", "[::1]", "localhost:8080", "LocalHost", "192.0.2.1:80"]
)
def test_an_address_or_localhost_is_taken(host: str) -> None:
    """Whatever the port: a tunnel may have another."""
    assert refusal({"Host": host}, "/stream") == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:9479",
        "localhost.evil.example",
        "127.0.0.1.evil.example:9479",
        "",
        "::1",
        "127.0.0.1:x",
        "[127.0.0.1]",
        "0x7f.1",
        "localhost:",
    ],
)
def test_a_name_is_refused(host: str) -> None:
    """A page of evil.example may have that name lead here, and would then be allowed to read what comes back."""
    assert "asked for by an address or as localhost" in refusal({"Host": host}, "/")


def test_another_pages_request_is_refused() -> None:
    """It could not read the answer, and yet have the daemon work. A link to the page itself may be followed."""
    from_elsewhere = {"Host": "127.0.0.1:9479", "Sec-Fetch-Site": "cross-site"}
    assert refusal(from_elsewhere, "/describe") == "this is for the page of this node alone"
    assert refusal(from_elsewhere, "/") == ""
    assert refusal({**from_elsewhere, "Sec-Fetch-Site": "same-origin"}, "/describe") == ""
