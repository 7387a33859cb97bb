"""The inside of a fork server: a process that has loaded what a program needs and is forked for each run of it, since
loading is most of what a run costs. forks.py is its outside.

A fork has the streams, the environment and the network namespace that were asked for, no other descriptor, and the
rights of its server. It ends as any program does, but that the interpreter does not take apart all that was loaded:
that took a third of what a short run did, and what is started as a program shows that it goes well.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from tests import namespaces

REQUEST_BYTES = 1 << 17
STREAMS = 3


def words_to_run(descriptor: int) -> list[str]:
    """Forks for each request on the socket, and returns in each fork with the words of what it is to run. Ends the
    process when nobody is left to ask."""
    gc.collect()
    gc.freeze()  # so that a fork's collections leave the shared pages alone
    requests = socket.socket(fileno=descriptor)
    waiting = selectors.DefaultSelector()
    waiting.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is not requests:
                waiting.unregister(key.fileobj)
                _tell_end(key.fd, *key.data)
                continue
            request, descriptors, *_ = socket.recv_fds(requests, REQUEST_BYTES, 1 + STREAMS)
            if not request:
                sys.exit()
            told, *streams = descriptors
            pid = os.fork()
            if pid == 0:
                waiting.close()
                requests.close()
                return _become(streams, **json.loads(request))
            for stream in streams:
                os.close(stream)
            os.write(told, str(pid).encode())
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))


def run_to_end(program: Callable[[], None]) -> NoReturn:
    """Runs a program that exits, and ends the process: once its threads have, what it left to the end is done, and all
    that it said is written."""
    try:
        program()
        status: object = None
    except SystemExit as exit_:
        status = exit_.code
    if not isinstance(status, int | None):  # words, which the interpreter is to say
        sys.exit(str(status))
    vars(threading)["_shutdown"]()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status or 0)


def _tell_end(pidfd: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
    os.close(told)
    os.close(pidfd)


def _become(streams: Sequence[int], netns: str, environment: dict[str, str], words: list[str]) -> list[str]:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
    namespaces.move(netns)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    return words
