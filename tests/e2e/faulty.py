"""The real daemon on an operating system that fails on demand: `python -m tests.e2e.faulty DIRECTORY daemon …`.

Each byte on its input starts a daemon, whose process id it writes, and later its exit status. The daemons are forked
from here, with all modules loaded, since loading them is most of what a start costs.

The daemon's own code runs unchanged. What is replaced is the lowest that Python reaches: netlink sockets, the functions
of the C library and of libnftables, the files below /proc/sys/net, the names of namespaces, and SQLite's commits. So
whatever way a later change of netplumb takes to the kernel, its calls are met here.
"""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.e2e.faultcounts import FAULTS
from tests.e2e.faults import Armoury
from tests.e2e.faultycalls import Database, Library, meeting, namespace_name, read_of_a_switch, write_of_a_switch
from tests.e2e.faultynetlink import Socket


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
    _replace(os, "open", meeting(os.open, read_of_a_switch))
    _replace(os, "write", meeting(os.write, write_of_a_switch))
    _replace(os, "unlink", meeting(os.unlink, namespace_name("unlink name")))
    _replace(os, "link", meeting(os.link, namespace_name("link name")))
    from netplumb.reconciler.converge.linux import LinuxKernel
    from netplumb.reconciler.pacing import fights

    # A scenario that damages the same object again and again would be taken for a tool to be fought.
    _replace(fights, "PAUSE_FIRST_S", 0.0)
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
    for module in ("main", "settings.configuration", "daemon"):
        import_module(f"netplumb.reconciler.{module}")
    gc.freeze()  # so that a fork's collections leave the shared pages alone
    serve(sys.modules["netplumb.reconciler.main"].main)
