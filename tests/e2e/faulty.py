"""The real daemon on an operating system that fails on demand: `python -m tests.e2e.faulty DIRECTORY daemon …`.

Each byte on its input starts a daemon, whose process id it writes, and later its exit status. The daemons are forked
from here, with all modules loaded, since loading them is most of what a start costs.

The daemon's own code runs unchanged. What is replaced is the lowest that Python reaches: netlink sockets, the functions
of the C library and of libnftables, the files below /proc/sys/net, the names of namespaces, and SQLite's commits. So
whatever way a later change of netplumb takes to the kernel, its calls are met here.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn

from tests.e2e.faults import DEATHS, Armoury, Fault, Kind
from tests.namespaces import NETNS_DIR

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLMSG_ERROR, NLM_F_DUMP_INTR, NLM_F_DUMP = 2, 0x10, 0x300
HEADER = struct.Struct("=IHHII")
DUMP = "dump "
SYSCTLS = "/proc/sys/net/"

# The first of each four message types of rtnetlink: NEW, DEL, GET, SET; include/uapi/linux/rtnetlink.h
RTNETLINK = {
    16: "LINK",
    20: "ADDR",
    24: "ROUTE",
    28: "NEIGH",
    32: "RULE",
    36: "QDISC",
    40: "TCLASS",
    44: "TFILTER",
    88: "NSID",
}
NFNL_MSG_BATCH_BEGIN = 16
IPCTNL_MSG_CT_DELETE = 1 << 8 | 2


class Faults:
    """Counts the calls, and says what each is to meet."""

    def __init__(self) -> None:
        self.armoury = Armoury(Path())
        self._lock = threading.Lock()
        self._armed_at = 0
        self._counted = 0

    def meet(self, call: str, *, changes: bool) -> Fault:
        with self._lock:
            armed = self.armoury.armed()
            if armed is None:
                return Fault()
            fault, number = armed
            if number != self._armed_at:
                self._armed_at, self._counted = number, 0
            counts = _counts(fault.kind, call, changes=changes)
            self._counted += counts
            met = counts and fault.meets(self._counted)
            self._write(call=call, changes=changes, met=met)
            return fault if met else Fault()

    def carry_out(self, call: str, do: Callable[[], Any], *, changes: bool, refusal: Callable[[int], Any]) -> Any:
        """One call outside of netlink: it dies, is refused, or is carried out."""
        fault = self.meet(call, changes=changes)
        if fault.kind is Kind.DIE_BEFORE:
            die()
        if fault.code:
            return refusal(fault.code)
        result = do()
        if fault.kind is Kind.DIE_AFTER:
            die()
        return result

    def plan(self, steps: Sequence[tuple[str, str]]) -> None:
        self._write(plan=steps)

    def done(self) -> None:
        self._write(done=True)

    def _write(self, **entry: Any) -> None:
        if self.armoury.armed() is not None:
            self.armoury.write(entry | {"thread": threading.get_ident()})


def _counts(kind: Kind, call: str, *, changes: bool) -> bool:
    if kind is Kind.INTERRUPT:
        return call.startswith(DUMP)
    return changes or kind not in DEATHS


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Message:
    type: int
    flags: int
    sequence: int
    raw: bytes

    def call(self, protocol: int) -> tuple[str, bool]:
        """Its name, and whether it changes something."""
        if protocol == NETLINK_ROUTE:
            verb = ("NEW", "DEL", "GET", "SET")[self.type & 3]
            dump = DUMP if verb == "GET" and self.flags & NLM_F_DUMP == NLM_F_DUMP else ""
            return f"{dump}RTM_{verb}{RTNETLINK.get(self.type & ~3, self.type)}", verb != "GET"
        return f"netfilter {self.type >> 8}/{self.type & 255}", self.type in (
            NFNL_MSG_BATCH_BEGIN,
            IPCTNL_MSG_CT_DELETE,
        )


def messages(data: bytes) -> Iterator[Message]:
    offset = 0
    while offset + HEADER.size <= len(data):
        size, type_, flags, sequence, _ = HEADER.unpack_from(data, offset)
        end = offset + ((size + 3) & ~3)
        yield Message(type_, flags, sequence, data[offset:end])
        offset = end


class Socket(socket.socket):
    """A netlink socket whose requests and answers meet faults; any other is as always."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made_up: deque[bytes] = deque()
        self._interrupted: set[int] = set()
        self._lost = 0

    def send(self, data: Any, flags: int = 0) -> int:
        if self.family != socket.AF_NETLINK or self.proto not in (NETLINK_ROUTE, NETLINK_NETFILTER):
            return super().send(data, flags)
        kept = b""
        for message in messages(bytes(data)):
            call, changes = message.call(self.proto)
            fault = FAULTS.meet(call, changes=changes)
            match fault.kind:
                case Kind.DIE_BEFORE | Kind.DIE_AFTER:
                    kept += message.raw if fault.kind is Kind.DIE_AFTER else b""
                    if kept:
                        super().send(kept, flags)
                    die()
                case Kind.SEND:
                    raise OSError(fault.code, os.strerror(fault.code))
                case Kind.REFUSE:
                    self._made_up.append(_refusal(message, fault.code))
                    continue
                case Kind.RECEIVE:
                    self._lost = fault.code
                case Kind.INTERRUPT:
                    self._interrupted.add(message.sequence)
            kept += message.raw
        if kept:
            super().send(kept, flags)
        return len(data)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._lost:
            code, self._lost = self._lost, 0
            raise TimeoutError("timed out") if code == errno.ETIMEDOUT else OSError(code, os.strerror(code))
        if self._made_up:
            return self._made_up.popleft()
        data = super().recv(bufsize, flags)
        return self._marked(data) if self._interrupted else data

    def _marked(self, data: bytes) -> bytes:
        marked = b""
        for message in messages(data):
            flags = message.flags | (NLM_F_DUMP_INTR if message.sequence in self._interrupted else 0)
            marked += message.raw[:6] + struct.pack("=H", flags) + message.raw[8:]
        return marked


def _refusal(request: Message, code: int) -> bytes:
    """What the kernel sends in place of carrying a request out: the error, and the request's header."""
    return HEADER.pack(36, NLMSG_ERROR, 0, request.sequence, 0) + struct.pack("=i", -code) + request.raw[:16]


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
    """A death before a commit comes when all is written and nothing is committed."""

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        leave = partial(super().__exit__, type_, value, traceback)
        if type_ is None and self.in_transaction:
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


def _meeting(function: Callable[..., Any], call: Callable[..., tuple[str, bool] | None]) -> Callable[..., Any]:
    """The function, whose calls meet faults where `call` names them."""

    @wraps(function)
    def met(*args: Any, **kwargs: Any) -> Any:
        if (named := call(*args)) is None:
            return function(*args, **kwargs)
        name, changes = named
        return FAULTS.carry_out(name, lambda: function(*args, **kwargs), changes=changes, refusal=_raise)

    return met


def _read_of_a_switch(path: Any, flags: int, *_: Any) -> tuple[str, bool] | None:
    return ("sysctl read", False) if str(path).startswith(SYSCTLS) and not flags & os.O_WRONLY else None


def _write_of_a_switch(fd: int, _: bytes) -> tuple[str, bool] | None:
    return ("sysctl write", True) if str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(SYSCTLS) else None


def _namespace_name(verb: str) -> Callable[..., tuple[str, bool] | None]:
    return lambda *paths: (verb, True) if Path(paths[-1]).parent == NETNS_DIR else None


def _noting_plans(method: Callable[..., Any]) -> Callable[..., Any]:
    """Writes down which steps are carried out by the calls that follow."""

    @wraps(method)
    def noted(kernel: Any, steps: Sequence[Any], *args: Any) -> Any:
        FAULTS.plan([(step.verb.name, type(step.thing).__name__) for step in steps])
        try:
            return method(kernel, steps, *args)
        finally:
            FAULTS.done()

    return noted


def install() -> None:
    """Before anything of netplumb is imported: it may take what it needs of the system when it is."""
    _replace(socket, "socket", Socket)
    _replace(ctypes, "CDLL", Library)
    _replace(sqlite3, "connect", partial(sqlite3.connect, factory=Database))
    _replace(os, "open", _meeting(os.open, _read_of_a_switch))
    _replace(os, "write", _meeting(os.write, _write_of_a_switch))
    _replace(os, "unlink", _meeting(os.unlink, _namespace_name("unlink name")))
    _replace(os, "link", _meeting(os.link, _namespace_name("link name")))
    from reconciler.linux import LinuxKernel

    _replace(LinuxKernel, "apply", _noting_plans(LinuxKernel.apply))
    _replace(LinuxKernel, "apply_node", _noting_plans(LinuxKernel.apply_node))


def _replace(where: Any, name: str, by: Any) -> None:
    setattr(where, name, by)


def serve(daemon: Callable[[], None]) -> None:
    """Starts a daemon for each byte that is read, until there is none."""
    while os.read(0, 1):
        pid = os.fork()
        if pid == 0:
            _run(daemon)
        os.write(1, f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(daemon: Callable[[], None]) -> NoReturn:
    """Runs in the fork, to its end. What it prints goes where its errors go."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    code = 1
    try:
        daemon()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    FAULTS.armoury = Armoury(Path(sys.argv.pop(1)))
    install()
    for module in ("reconciler.main", "reconciler.configuration", "reconciler.daemon"):
        import_module(module)
    gc.freeze()  # so that a fork's collections leave the shared pages alone
    serve(sys.modules["reconciler.main"].main)
