"""How many connections the kernel's tracking could not begin: there was no room, or no port was left to translate one
to. The namespace is the calling thread's."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

NO_ROOM = frozenset({"drop", "early_drop"})
NOT_BEGUN = frozenset({"drop", "insert_failed"})
_COUNTERS = Path("/proc/thread-self/net/stat/nf_conntrack")


def read_losses(names: Collection[str]) -> int:
    """Since the boot, by the names that the kernel has for the reasons; 0 where it tells none."""
    with suppress(OSError):
        head, *lines = (line.split() for line in _COUNTERS.read_text().splitlines())
        columns = [number for number, name in enumerate(head) if name in names]
        return sum(int(line[column], 16) for line in lines for column in columns)
    return 0
