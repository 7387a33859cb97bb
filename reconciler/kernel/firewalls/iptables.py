"""The tables of iptables-legacy, read only.

The kernel makes a legacy table, and loads its module, for whoever asks for it. So only those are asked for that /proc
says are there.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from struct import error, pack, unpack_from
from typing import Any

from netplumb.reconciler.kernel.firewalls.xtentries import IP, IP6, NAT, PRIORITIES, listed

DROPPING = frozenset(PRIORITIES)
"""The tables that drop; iptables lets nobody do so in nat."""
TRANSLATING = frozenset({NAT})
ALL = DROPPING | TRANSLATING

MOST_BYTES = 4 << 20
"""Of one table; some 25,000 rules."""

_NAMES = Path("/proc/thread-self/net")  # of the namespace of the thread that asks
_FAMILIES = (
    (IP, socket.AF_INET, socket.SOL_IP, "ip_tables_names"),
    (IP6, socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names"),
)
_SO_GET_INFO, _SO_GET_ENTRIES = 64, 65  # IPT_SO_*, IP6T_SO_*
_TABLE_NAME_BYTES = 32
_INFO_BYTES, _ENTRIES_HEADER_BYTES = 84, 40  # struct ipt_getinfo, struct ipt_get_entries
_libc = ctypes.CDLL(None, use_errno=True)


def read(tables: Collection[str] = DROPPING) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Chains and rules of these tables of the calling thread's namespace, as libnftables would list them; and what was
    not read. In the nat table, where nothing is dropped, service proxies keep thousands of rules."""
    found: list[Mapping[str, Any]] = []
    unread: list[str] = []
    for layout, family, level, names in _FAMILIES:
        try:
            there = (_NAMES / names).read_text().split()
        except FileNotFoundError:
            continue  # this kernel has none
        except OSError as why:
            unread.append(f"iptables-legacy's {layout.family} tables ({why.strerror})")
            continue
        for table in sorted(set(there) & set(tables)):
            try:
                found += listed(layout, table, *_entries(family, level, table))
            except (OSError, ValueError, LookupError, error) as why:
                unread.append(f"iptables-legacy's table {layout.family} {table} ({why})")
    return found, unread


def _entries(family: socket.AddressFamily, level: int, table: str) -> tuple[bytes, bytes]:
    """What tells of the table, less its name, and its entries."""
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        name = table.encode().ljust(_TABLE_NAME_BYTES, b"\0")
        info = _getsockopt(asked, level, _SO_GET_INFO, name.ljust(_INFO_BYTES, b"\0"))
        (size,) = unpack_from("=I", info, _INFO_BYTES - 4)
        if size > MOST_BYTES:
            raise ValueError(f"{size >> 20} MiB are too much to weigh")
        request = (name + pack("=I", size)).ljust(_ENTRIES_HEADER_BYTES + size, b"\0")
        entries = _getsockopt(asked, level, _SO_GET_ENTRIES, request)[_ENTRIES_HEADER_BYTES:]
        return info[_TABLE_NAME_BYTES:], entries


def _getsockopt(asked: socket.socket, level: int, option: int, request: bytes) -> bytes:
    """Python's own hands the kernel no buffer that holds a question."""
    buffer = ctypes.create_string_buffer(request, len(request))
    size = ctypes.c_uint32(len(request))
    if _libc.getsockopt(asked.fileno(), level, option, buffer, ctypes.byref(size)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw
