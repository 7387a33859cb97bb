"""A classic BPF program on the listener's socket: the kernel drops there what would mark nothing.

Of the some 18 notifications that one attach causes, two thirds are our own echoes or the kernel's consequences of them;
dropped in the kernel they wake nobody. linux/Documentation/networking/filter.rst describes the language.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence
from struct import pack

SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x28, 0x54, 0x15, 0x06
_TYPE_OFFSET, _PORT_ID_OFFSET = 4, 12  # in struct nlmsghdr
_ADDRESS_INDEX_OFFSET = 20  # in struct ifaddrmsg, behind that header
_KEEP, _DROP = 0xFFFFFFFF, 0

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def echo_filter(
    own: int, own_mask: int, consequences: Sequence[int], address: int, kept_index: int
) -> list[Instruction]:
    """Drops messages that requests of ours caused (by port id), and those of the given types that no process caused
    (port id 0). An `address`, which is one of these types, it keeps where that is on the interface `kept_index`:
    whoever changes an IPv6 address, the kernel tells of it as if nobody had."""
    types = len(consequences)
    return [
        (_LOAD_WORD, 0, 0, _PORT_ID_OFFSET),
        (_JUMP_EQUAL, 3, 0, 0),
        (_AND, 0, 0, socket.htonl(own_mask)),
        (_JUMP_EQUAL, types + 6, 0, socket.htonl(own)),
        (_RETURN, 0, 0, _KEEP),
        (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
        (_JUMP_EQUAL, types + 1, 0, socket.htons(address)),
        *((_JUMP_EQUAL, types - position + 2, 0, socket.htons(type_)) for position, type_ in enumerate(consequences)),
        (_RETURN, 0, 0, _KEEP),
        (_LOAD_WORD, 0, 0, _ADDRESS_INDEX_OFFSET),
        (_JUMP_EQUAL, 1, 0, socket.htonl(kept_index)),
        (_RETURN, 0, 0, _DROP),
        (_RETURN, 0, 0, _KEEP),
    ]


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Puts the program on the socket. A load reads network order, which is why operands are swapped."""
    code = ctypes.create_string_buffer(b"".join(pack("=HBBI", *instruction) for instruction in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HxxxxxxP", len(program), ctypes.addressof(code)))
