"""libnftables in the process, through ctypes: its JSON interface (libnftables-json(5)), and nothing more of it.

A context belongs to the network namespace in which it was made. Starting the `nft` command instead would cost 2 ms a
transaction where this costs 0.1.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from netplumb.models.errors import Retryable, StepError, Terminal, errno_name
from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER
from netplumb.reconciler.kernel.nftables.batch import discard_late_answers

_NFT_CTX_OUTPUT_JSON = 1 << 4
_NFT_CTX_OUTPUT_NUMERIC_PROTO = 1 << 7  # names of protocols depend on the host's /etc/protocols
_PASSING = frozenset({errno.EBUSY, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOENT, errno.EEXIST})


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise Terminal(f"libnftables.so.1 cannot be loaded ({error}); on Debian install libnftables1") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


class Libnftables:
    """One context; not safe for use by two threads at once."""

    def __init__(self) -> None:
        self._library = _library()
        before = _sockets()
        self._context = self._library.nft_ctx_new(0)
        opened = [number for inode, number in _sockets().items() if inode not in before]
        self.channel = _netfilter_channel(opened)
        """The context's own socket, by another descriptor: a table belongs to the socket that made it. None where it
        cannot be told."""
        if not self._context:
            raise Retryable("libnftables has no memory for a context", code=errno.ENOMEM)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_output_set_flags(self._context, _NFT_CTX_OUTPUT_JSON | _NFT_CTX_OUTPUT_NUMERIC_PROTO)

    def run(self, commands: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Carries out the commands as one transaction, and returns the objects that they listed.

        Raises Retryable or Terminal with what the kernel said; then nothing was changed.
        """
        payload = json.dumps({"nftables": commands}).encode()
        failed = self._run(payload)
        output = self._library.nft_ctx_get_output_buffer(self._context) or b""
        words = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
        if failed:
            raise _told(words)
        listed: list[dict[str, Any]] = json.loads(output)["nftables"] if output.strip() else []
        return listed

    def run_text(self, text: str) -> None:
        """Carries out what is written in nft's own language, for what the JSON cannot say: a table's flags."""
        failed = self._run(text.encode())
        words = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
        if failed:
            raise _told(words)

    def _run(self, commands: bytes) -> bool:
        if self.channel is not None:
            discard_late_answers(self.channel)
        return bool(self._library.nft_run_cmd_from_buffer(self._context, commands))

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None


def _sockets() -> dict[str, int]:
    """The sockets of the process: descriptors by what identifies them."""
    found = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            found[str(descriptor.readlink())] = int(descriptor.name)
    return {inode: number for inode, number in found.items() if inode.startswith("socket:")}


def _netfilter_channel(opened: Sequence[int]) -> socket.socket | None:
    made = []
    for number in opened:
        with suppress(OSError):
            made.append(socket.socket(fileno=os.dup(number)))
    channels = [it for it in made if it.family == socket.AF_NETLINK and it.proto == NETLINK_NETFILTER]
    for it in made:
        if len(channels) != 1 or it is not channels[0]:
            it.close()
    return channels[0] if len(channels) == 1 else None


_CODES = {os.strerror(code): code for code in errno.errorcode}


def failure(code: int, words: str) -> StepError:
    """What to raise for an errno from nf_tables: Retryable where another attempt, or another reading, may heal it."""
    name = f"{errno_name(code)}: " if code else ""
    kind = Retryable if code in _PASSING else Terminal
    return kind(f"nftables: {name}{words}", subject="table inet netplumb", code=code, reason="NftablesFailed")


def _told(words: str) -> StepError:
    """libnftables tells an errno only by its text, at the end of the first line."""
    line = words.strip().splitlines()[0] if words.strip() else "libnftables failed without a word"
    code = next((code for text, code in _CODES.items() if line.endswith(text)), 0)
    return failure(code, line)
