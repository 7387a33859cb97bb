"""Classic BPF programs on the sockets that listen: the kernel drops there what would mark nothing.

Of the some 18 notifications that one attach causes, two thirds are our own echoes or the kernel's consequences of them;
dropped in the kernel they wake nobody. linux/Documentation/networking/filter.rst describes the language.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
_TYPE_OFFSET, _PORT_ID_OFFSET = 4, 12  # in struct nlmsghdr
_KEEP, _DROP = 0xFFFFFFFF, 0

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


@dataclass(frozen=True, slots=True)
class Consequences:
    """A type of message that is dropped where no process caused it, but for those with one of these bytes at this
    offset."""

    type: int
    but_for: tuple[int, Sequence[int]] | None = None

    def program(self) -> list[Instruction]:
        """Returns, or goes on behind itself where the accumulator holds another type."""
        if self.but_for is None:
            return [(_JUMP_EQUAL, 0, 1, socket.htons(self.type)), (_RETURN, 0, 0, _DROP)]
        offset, values = self.but_for
        kept = len(values)
        return [
            (_JUMP_EQUAL, 0, kept + 3, socket.htons(self.type)),
            (_LOAD_BYTE, 0, 0, offset),
            *((_JUMP_EQUAL, kept - position, 0, value) for position, value in enumerate(values)),
            (_RETURN, 0, 0, _DROP),
            (_RETURN, 0, 0, _KEEP),
        ]


def echo_filter(own: int, own_mask: int, consequences: Sequence[Consequences]) -> list[Instruction]:
    """Drops messages that requests of ours caused (by port id), and those that no process caused (port id 0) where they
    are mere consequences."""
    return [
        (_LOAD_WORD, 0, 0, _PORT_ID_OFFSET),
        (_JUMP_EQUAL, 4, 0, 0),
        (_AND, 0, 0, socket.htonl(own_mask)),
        (_JUMP_EQUAL, 0, 1, socket.htonl(own)),
        (_RETURN, 0, 0, _DROP),
        (_RETURN, 0, 0, _KEEP),
        (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
        *(instruction for each in consequences for instruction in each.program()),
        (_RETURN, 0, 0, _KEEP),
    ]


def type_filter(type_: int) -> list[Instruction]:
    """Keeps messages of one type."""
    return [
        (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
        (_JUMP_EQUAL, 0, 1, socket.htons(type_)),
        (_RETURN, 0, 0, _KEEP),
        (_RETURN, 0, 0, _DROP),
    ]


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Puts the program on the socket. A load reads network order, which is why operands are swapped."""
    code = ctypes.create_string_buffer(b"".join(pack("=HBBI", *instruction) for instruction in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HxxxxxxP", len(program), ctypes.addressof(code)))
