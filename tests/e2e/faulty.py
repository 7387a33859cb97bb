"""The real daemon on an operating system that fails on demand: `python -m tests.e2e.faulty`, as forks.py starts it. The
first word for each of its forks is the directory in which it is told of its faults.

The daemon's own code runs unchanged. What is replaced is the lowest that Python reaches: netlink sockets, the functions
of the C library and of libnftables, the files below /proc/sys/net, the names of namespaces, and SQLite's commits. So
whatever way a later change of netplumb takes to the kernel, its calls are met here.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.e2e.faultcounts import FAULTS
from tests.e2e.faults import Armoury
from tests.e2e.faultycalls import Database, Library, meeting, namespace_name, read_of_a_switch, write_of_a_switch
from tests.e2e.faultynetlink import Socket
from tests.e2e.forking import run_to_end, words_to_run


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
    from netplumb.reconciler.converge.ways import WaysKernel
    from netplumb.reconciler.pacing import fights

    # A scenario that damages the same object again and again would be taken for a tool to be fought.
    _replace(fights, "PAUSE_FIRST_S", 0.0)
    _replace(LinuxKernel, "apply", _noting_plans(LinuxKernel.apply))
    _replace(LinuxKernel, "apply_node", _noting_plans(LinuxKernel.apply_node))
    _replace(WaysKernel, "apply", _noting_plans(WaysKernel.apply))


def _replace(where: Any, name: str, by: Any) -> None:
    setattr(where, name, by)


if __name__ == "__main__":
    install()
    import_module("tests.e2e.preloaded").load()
    directory, *words = words_to_run(int(sys.argv[1]))
    FAULTS.armoury = Armoury(Path(directory))
    sys.argv = ["netplumb", *words]
    run_to_end(sys.modules["netplumb.reconciler.main"].main)
