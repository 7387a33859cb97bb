"""Inside the daemon under test: all but netlink by which it changes or reads the system: the C library, libnftables,
files, and SQLite's commits."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from netplumb.reconciler.history.eventfile import path_in
from tests.e2e.faultcounts import FAULTS
from tests.namespaces import NETNS_DIR

SYSCTLS = "/proc/sys/net/"


class Function:
    """A function of a C library that may fail; its types are set as on any other."""

    def __init__(self, function: Any, library: Library) -> None:
        self.__dict__.update(_function=function, _library=library)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._function, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __call__(self, *args: Any) -> Any:
        name = self._function.__name__
        if name == "nft_ctx_get_error_buffer":
            words, self._library.words = self._library.words, b""
            return words or self._function(*args)
        changes = name != "setns"
        if name == "nft_run_cmd_from_buffer":
            changes = _changes_ruleset(args[1])
            name += "" if changes else " list"
        return FAULTS.carry_out(name, lambda: self._function(*args), changes=changes, refusal=self._library.refuse)


def _changes_ruleset(payload: bytes) -> bool:
    """Whether libnftables is told more than to list; what is not JSON is a definition."""
    try:
        commands = json.loads(payload)["nftables"]
    except ValueError:
        return True
    return any(not command.keys() <= {"list", "metainfo"} for command in commands)


class Library(ctypes.CDLL):
    MET = ("setns", "unshare", "mount", "umount2", "nft_run_cmd_from_buffer", "nft_ctx_get_error_buffer")

    words = b""

    def __getattr__(self, name: str) -> Any:
        function: Any = super().__getattr__(name)
        if name in self.MET:
            function = Function(function, self)
            setattr(self, name, function)
        return function

    def refuse(self, code: int) -> int:
        """As the C library does, by errno, and as libnftables does, in words."""
        ctypes.set_errno(code)
        self.words = f"internal:0:0-0: Error: Could not process rule: {os.strerror(code)}\n".encode()
        return -1


class Database(sqlite3.Connection):
    """A death before a commit comes when all is written and nothing is committed. Events are committed by a thread of
    their own, whenever that has its turn, so that counting their commits would say nothing of other calls."""

    def __init__(self, database: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(database, *args, **kwargs)
        self._meets_faults = Path(database).name != path_in(Path()).name

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        leave = partial(super().__exit__, type_, value, traceback)
        if self._meets_faults and type_ is None and self.in_transaction:
            try:
                FAULTS.carry_out("store commit", leave, changes=True, refusal=_unwritable)
            except sqlite3.Error:
                self.rollback()
                raise
        else:
            leave()
        return False


def _unwritable(code: int) -> None:
    raise sqlite3.OperationalError(f"disk I/O error: {os.strerror(code)}")


def _raise(code: int) -> None:
    raise OSError(code, os.strerror(code))


def meeting(function: Callable[..., Any], call: Callable[..., tuple[str, bool] | None]) -> Callable[..., Any]:
    """The function, whose calls meet faults where `call` names them."""

    @wraps(function)
    def met(*args: Any, **kwargs: Any) -> Any:
        if (named := call(*args)) is None:
            return function(*args, **kwargs)
        name, changes = named
        return FAULTS.carry_out(name, lambda: function(*args, **kwargs), changes=changes, refusal=_raise)

    return met


def read_of_a_switch(path: Any, flags: int, *_: Any) -> tuple[str, bool] | None:
    return ("sysctl read", False) if str(path).startswith(SYSCTLS) and not flags & os.O_WRONLY else None


def write_of_a_switch(fd: int, _: bytes) -> tuple[str, bool] | None:
    return ("sysctl write", True) if str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(SYSCTLS) else None


def namespace_name(verb: str) -> Callable[..., tuple[str, bool] | None]:
    return lambda *paths: (verb, True) if Path(paths[-1]).parent == NETNS_DIR else None
