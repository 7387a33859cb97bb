"""For how long certificates are valid, by what a PEM file says. The standard library tells that of no certificate that
was not verified; it is at a fixed place of each (RFC 5280, 4.1)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17


def validities(path: Path) -> list[tuple[float, float]]:
    """From when to when, in seconds since the epoch, each certificate in the file is valid. Raises OSError, ValueError
    where there is none, or something else than certificates."""
    found = [_validity(ssl.PEM_cert_to_DER_cert(it)) for it in _PEM.findall(path.read_text(errors="replace"))]
    if not found:
        raise ValueError(f"{path} has no certificate in it")
    return found


def _validity(der: bytes) -> tuple[float, float]:
    try:
        ((_, certificate),) = _parts(der)
        (_, signed), *_ = _parts(certificate)
        fields = [it for it in _parts(signed) if it[0] != _VERSION]
        begin, end = (_time(tag, value) for tag, value in _parts(fields[3][1]))  # serial, algorithm, issuer, validity
    except (IndexError, ValueError):
        raise ValueError("a certificate that cannot be read") from None
    return begin, end


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents, one after the other. Raises IndexError."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            more = length & 0x7F
            length = int.from_bytes(data[at : at + more], "big")
            at += more
        if at + length > len(data):
            raise IndexError
        yield tag, data[at : at + length]
        at += length


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
