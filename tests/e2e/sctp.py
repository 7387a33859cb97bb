"""The packet that opens an SCTP association (RFC 9260, section 3.3.2), with the checksum that conntrack looks at."""

from __future__ import annotations

import struct

_CASTAGNOLI = 0x82F63B78


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp_init(source: int, destination: int) -> bytes:
    """32 bytes: the common header, and one INIT chunk."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65535, 1, 1, 0x5678)
    ports = struct.pack("!HHI", source, destination, 0)
    checksum = struct.pack("<I", _crc32c(ports + bytes(4) + chunk))
    return ports + checksum + chunk
