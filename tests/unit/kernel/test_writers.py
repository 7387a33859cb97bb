"""Who has a file open for writing, asked of the kernel."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from netplumb.reconciler.kernel.writers import is_written


@pytest.mark.parametrize("mode", ["w", "a", "r+"])
def test_a_file_is_written_while_it_is_open_for_that(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_text("whole")
    with path.open("rb") as read:
        assert not is_written(read.fileno())
        with path.open(mode):
            assert is_written(read.fileno())
        assert not is_written(read.fileno())


def test_others_that_read_it_do_not_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("whole")
    with path.open("rb"), path.open("rb") as read:
        assert not is_written(read.fileno())


def test_nothing_is_known_of_what_has_no_leases() -> None:
    with Path("/proc/self/status").open("rb") as read:
        assert not is_written(read.fileno())


def test_who_opens_it_in_that_moment_neither_fails_nor_ends_us(tmp_path: Path) -> None:
    """The signal that tells of it is SIGURG, which is ignored, and a lease that is given back keeps nobody out."""
    path = tmp_path / "file"
    path.write_text("whole")
    told = []
    before = signal.signal(signal.SIGIO, lambda *_: told.append("SIGIO"))
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            with path.open("rb") as read:
                is_written(read.fileno())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(2000):
            os.close(os.open(path, os.O_WRONLY))
    finally:
        done.set()
        asking.join()
        signal.signal(signal.SIGIO, before)
    assert not told
