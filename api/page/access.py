"""PURE: whether a request for the page is one that a person made here.

A page of somebody else, open in the same browser, must neither read this one nor have it do work. Such a page can give
its own name this node's address (DNS rebinding), but then its name is what the browser asks for: only addresses and
localhost are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

_OWN = ("same-origin", "none")
"""What browsers say of who asks: this page, or the person by an address that was typed or a bookmark."""


def refusal(headers: Mapping[str, str], path: str) -> str:
    """Why it is none, empty if it is one."""
    host = headers.get("Host", "")
    if not _is_address(host):
        return f"this page is asked for by an address or as localhost, not as {host[:300]!r}"
    if path != "/" and headers.get("Sec-Fetch-Site", "none") not in _OWN:
        return "this is for the page of this node alone"
    return ""


def _is_address(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not (colon and port.isascii() and port.isdigit()):
        name = host
    if name.lower() == "localhost":
        return True
    bracketed = name.startswith("[") and name.endswith("]")
    try:
        return (ip_address(name[1:-1] if bracketed else name).version == 6) == bracketed
    except ValueError:
        return False
