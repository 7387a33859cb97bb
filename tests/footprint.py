"""What a process holds at one moment, as the kernel counts it: memory, descriptors, threads, processor time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Footprint:
    rss_kib: int
    fds: int
    threads: int

    def __str__(self) -> str:
        return f"{self.rss_kib / 1024:.1f} MiB, {self.fds} descriptors, {self.threads} threads"


def footprint(pid: int) -> Footprint:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    fds = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Footprint(int(fields["VmRSS"].split()[0]), fds, int(fields["Threads"]))


def cpu_s(pid: int) -> float:
    """Processor time of the threads that live, to the microsecond; what /proc/PID/stat has counts in ticks of 10 ms."""
    spent_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent_ns += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended between the two looks
    return spent_ns / 1e9
