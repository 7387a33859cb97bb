"""Which process has a socket open. Costs a look at every descriptor of the node, so it is asked of few sockets."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from netplumb.models.sockets import Process

_PROC = Path("/proc")


def openers(inodes: Collection[int]) -> dict[int, Process]:
    """By the socket's inode number; without those that no process shows, as of another pid namespace."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Process] = {}
    for directory in _PROC.iterdir() if wanted else ():
        if len(found) == len(wanted):
            break
        if directory.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile, or is not to be looked at
                for descriptor in (directory / "fd").iterdir():
                    with suppress(OSError):
                        if (inode := wanted.get(str(descriptor.readlink()))) is not None and inode not in found:
                            found[inode] = _process(directory)
    return found


def _process(directory: Path) -> Process:
    line = (directory / "cmdline").read_bytes().decode(errors="replace")
    return Process(int(directory.name), (directory / "comm").read_text().strip(), tuple(line.split("\0")))
