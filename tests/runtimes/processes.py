"""What runtimes leave running when they themselves end: shims and monitors, and the containers under them.

Ours are known by the test's directory, which shims and monitors have in their command line, and by a cgroup of the
directory's name, which the containers are in. No process of anybody else is ended.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ENDED_WITHIN_S = 10.0
_CGROUPS = Path("/sys/fs/cgroup")


def end_all(directory: Path, cgroup: str) -> None:
    """Kills what belongs to the directory and then what is in the cgroup, and removes that."""
    _kill(lambda: _naming(directory))
    _kill(lambda: _in(cgroup))
    for top in _hierarchies(cgroup):
        for group in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            group.rmdir()
        top.rmdir()


def _kill(find: Callable[[], Iterator[int]]) -> None:
    ends = time.monotonic() + ENDED_WITHIN_S
    while found := sorted(find()):
        assert time.monotonic() < ends, f"still running: {found}"
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _naming(directory: Path) -> Iterator[int]:
    wanted = os.fsencode(directory)
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and wanted in (process / "cmdline").read_bytes():
                yield int(process.name)
        except OSError:  # gone meanwhile
            continue


def _in(cgroup: str) -> Iterator[int]:
    for top in _hierarchies(cgroup):
        for listing in top.rglob("cgroup.procs"):
            yield from map(int, listing.read_text().split())


def _hierarchies(cgroup: str) -> list[Path]:
    """The cgroup in each hierarchy of version 1, and in that of version 2, where it is there."""
    return [*_CGROUPS.glob(cgroup), *_CGROUPS.glob(f"*/{cgroup}")]
