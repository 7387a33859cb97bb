"""Programs for the sockets that listen: the kernel drops there what would mark nothing. A load reads network order,
which is why operands are swapped.

Of the some 18 notifications that one attach causes, two thirds are our own echoes or the kernel's consequences of them;
dropped in the kernel they wake nobody.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from netplumb.reconciler.kernel.bpf import (
    AND,
    DROP,
    JUMP_EQUAL,
    KEEP,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    RETURN,
    Instruction,
)

_TYPE_OFFSET, _PORT_ID_OFFSET = 4, 12  # in struct nlmsghdr


@dataclass(frozen=True, slots=True)
class Consequences:
    """A type of message that is dropped where no process caused it, but for those with one of these bytes at this
    offset."""

    type: int
    but_for: tuple[int, Sequence[int]] | None = None

    def program(self) -> list[Instruction]:
        """Returns, or goes on behind itself where the accumulator holds another type."""
        if self.but_for is None:
            return [(JUMP_EQUAL, 0, 1, socket.htons(self.type)), (RETURN, 0, 0, DROP)]
        offset, values = self.but_for
        kept = len(values)
        return [
            (JUMP_EQUAL, 0, kept + 3, socket.htons(self.type)),
            (LOAD_BYTE, 0, 0, offset),
            *((JUMP_EQUAL, kept - position, 0, value) for position, value in enumerate(values)),
            (RETURN, 0, 0, DROP),
            (RETURN, 0, 0, KEEP),
        ]


def echo_filter(own: int, own_mask: int, consequences: Sequence[Consequences]) -> list[Instruction]:
    """Drops messages that requests of ours caused (by port id), and those that no process caused (port id 0) where they
    are mere consequences."""
    return [
        (LOAD_WORD, 0, 0, _PORT_ID_OFFSET),
        (JUMP_EQUAL, 4, 0, 0),
        (AND, 0, 0, socket.htonl(own_mask)),
        (JUMP_EQUAL, 0, 1, socket.htonl(own)),
        (RETURN, 0, 0, DROP),
        (RETURN, 0, 0, KEEP),
        (LOAD_HALF, 0, 0, _TYPE_OFFSET),
        *(instruction for each in consequences for instruction in each.program()),
        (RETURN, 0, 0, KEEP),
    ]


def type_filter(type_: int) -> list[Instruction]:
    """Keeps messages of one type."""
    return [
        (LOAD_HALF, 0, 0, _TYPE_OFFSET),
        (JUMP_EQUAL, 0, 1, socket.htons(type_)),
        (RETURN, 0, 0, KEEP),
        (RETURN, 0, 0, DROP),
    ]
