"""Classic BPF programs on sockets: linux/Documentation/networking/filter.rst describes the language."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence
from struct import pack

SO_ATTACH_FILTER = 26
LOAD_WORD, LOAD_HALF, LOAD_BYTE, AND, JUMP_EQUAL, RETURN = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
KEEP, DROP = 0xFFFFFFFF, 0

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Puts the program on the socket. A load reads network order."""
    code = ctypes.create_string_buffer(b"".join(pack("=HBBI", *instruction) for instruction in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HxxxxxxP", len(program), ctypes.addressof(code)))
