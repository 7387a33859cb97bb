"""The plugins as files. Each says in itself that it is netplumb's, and the first which socket it asks.

`netplumb-cni` is a compiled program where this installation has one (api/go/plugin, which Debian's package brings), and
else a script for Python. Both do the same.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from netplumb.api.cni import loopback, plugin
from netplumb.api.unixsocket import PATH_MAX_BYTES

PLUGIN = "netplumb-cni"
LOOPBACK = "loopback"

COMPILED = Path(sys.prefix, "libexec", PLUGIN)
"""Beside the environment that netplumb is installed into; whether it is there is for the installation."""

SHEBANG_MAX_BYTES = 255  # BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h
_MARK = "# Written by `netplumb cni install`; `netplumb cni uninstall` removes it.\n"
_SOCKET_LINE = re.compile(r"^SOCKET = .*$", re.MULTILINE)
_SOCKET_FIELD = re.compile(re.escape(_MARK.encode()) + rb"SOCKET = ([^\0]+\0+)")


class ProgramError(Exception):
    """No plugin can be made of what there is; the message says why."""


def compiled(program: Path, socket: Path) -> bytes:
    """The compiled plugin, which has room for the socket."""
    content = program.read_bytes()
    fields = list(_SOCKET_FIELD.finditer(content))
    if len(fields) != 1:
        raise ProgramError(f"{program} is not netplumb's compiled plugin, or not of this version")
    place = fields[0].span(1)
    written = bytes(_fitting(socket))
    return content[: place[0]] + written.ljust(place[1] - place[0], b"\0") + content[place[1] :]


def script(socket: Path) -> bytes:
    """The plugin for Python."""
    text = _source(plugin.__file__)
    return (_head() + _SOCKET_LINE.sub(lambda _: f"SOCKET = {str(_fitting(socket))!r}", text, count=1)).encode()


def loopback_script() -> bytes:
    return (_head() + _source(loopback.__file__)).encode()


def is_ours(path: Path) -> bool:
    return _MARK.encode() in path.read_bytes()


def _head() -> str:
    """Names the interpreter that this environment was made from: the plugin outlives the environment, and needs nothing
    of it. A name without a version outlives an upgrade of the interpreter besides."""
    python = Path(sys.executable).resolve()
    if (unversioned := Path(sys.base_prefix, "bin", "python3")).resolve() == python:
        python = unversioned
    shebang = f"#!{python} -IS"
    if len(shebang.encode()) > SHEBANG_MAX_BYTES or shebang.count(" ") > 1:
        raise ProgramError(f"{shebang!r} cannot be the first line of a script")
    return f"{shebang}\n{_MARK}"


def _fitting(socket: Path) -> Path:
    if (size := len(bytes(socket))) > PATH_MAX_BYTES:
        raise ProgramError(f"{socket} is {size} bytes long; a unix socket's path holds at most {PATH_MAX_BYTES}")
    return socket


def _source(module_file: str | None) -> str:
    assert module_file is not None
    return Path(module_file).read_text("utf-8")
