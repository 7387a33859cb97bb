"""Writes docs/performance.md and its plots from the last measurement: `python -m tests.bench.peers.page`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.peers.measured import Measured, Row, recorded
from tests.bench.peers.plots import Curve, plot
from tests.bench.peers.report import COLUMNS, cells

DOCS = Path(__file__).parents[3] / "docs"
FILE = DOCS / "performance.md"
LATENCY, NUMBER, CPU = "performance-latency.svg", "performance-number.svg", "performance-cpu.svg"

_INTRODUCTION = """\
# Performance

What an attachment costs, beside others that do the same job. All of it was measured in one run, workload by workload in
turn, so that whatever else the machine did met all of them: take the ratios, not the figures. `make performance`
measures anew and writes this page; do not edit it. `make bench-peers` measures and shows it.
"""

_PEERS = """\
- **Go peer**: [one file](../tests/bench/peers/gopeer/main.go) that makes the same objects by grpc-go and
  vishvananda/netlink, one call after the other, and answers the same gRPC calls. It keeps nothing, so that it could not
  survive its own death; it hears and repairs nothing, refuses nothing, and reads no firewall.
- **ptp**, **portmap**, **bandwidth**: the reference CNI plugins with host-local, as Debian has them. ptp waits until
  the kernel has found that nobody else has the IPv6 address, which takes more than a second; netplumb's addresses are
  its own, so that there is nothing to ask.
- **netavark**: Podman's, with a bridge.
- **netplumb-cni**: netplumb's CNI plugin, a [compiled program](../api/go/plugin/main.go) that asks the daemon, as
  Debian's package brings it; the script that pip installs does the same, and Python's start is part of its time.
"""

_COSTS = """\
## Where an Attach goes

Of the daemon's processor time for an Attach a bit more than a quarter is the kernel's, most of it for the objects. The
rest is Python's, spread over some three thousand calls: there is no single place that it could be saved at. Two fifths
of these go to the wish and its answer, a third to the pass, and a quarter to hearing what it caused. What was done
about it; the ratios are those of two daemons in one run, with and without it, attach by attach in turn:

- A pair of links is made with one queue, and not with one for each processor that the machine may have, of which veth
  uses one: 0.82 to 0.86 of the time where there are two processors, and more is saved where there are many.
- A workload that is attached again in the namespace where it was before is passed over once; what the kernel told of
  the place while nobody had it asked for a second pass, with a look: 0.77 of the time.
- A new attachment is written without a look before it ([the lane](../reconciler/converge/lane.py)): 0.84 to 0.92 of the
  time, 0.87 to 0.89 of the processor time.
- What a pass caused is heard once, and not a second time by the event loop: two rounds of reads and four changes of
  what is polled are saved at each attach.
- Python looks for circular garbage seldom, and never at what was imported: a pause of 40 to 75 ms in some thousand
  attaches is gone.
- What nobody watches is not made, and an address becomes text once. With the two points above and without a port: 0.92
  to 0.96 of the time and 0.89 to 0.93 of the processor time of an Attach, and 1.25 times the rate of 16 clients.
- An Attach with a mapped port makes one walk over the table of connection tracking, or none where it is empty, and not
  one for each port and family: 5 ms of processor time where it were 25, with 262,144 buckets.
- The store is written without a sync, since what one would save ends with the boot anyhow: on a tmpfs nothing; where
  the data directory is on a disk that others write to, 0.81 of an Attach's time and 0.72 of a Detach's.
- An address is not written and read again, as one of each family in turn, when a record is made of it, and a link is
  read for its carrier by one exchange: 0.95 of the time and 0.94 of the processor time, on a tmpfs.
- Messages of the kernel that were gathered are read behind the answer of a pass in the same turn.
- A Detach is answered when the kernel tells that the link is gone, not when it answers: 0.23 to 0.33 of the time.
- An idle daemon waits for names by inotify, and looks at its socket without connecting: 0.37% of a core on a busy
  machine, where it was 1.37%.
- An idle daemon with thousands of attachments compares all of them the more seldom, so that it takes 2% of a core.
- The distribution's Python is taken where there is one, as the Debian package does: 0.90 of the time beside one of
  nearly the same release that was compiled without its optimisations.

What was tried and brought nothing: uvloop, more worker threads, gRPC's options for its channels, and mypyc: what is
hot is spent in dictionaries and `bytes`, so that a compiled decoder takes 0.9 to 1.3 of the time; and it frees and lays
out things differently, so that the compiled listener did not start.

On a busy node an Attach waits for the kernel's one lock for links, and for one of its switches, `proxy_ndp`, it does so
by trying again and again, which takes processor time: the kernel knows no other way to set that.
"""


def rendered() -> Mapping[str, str]:
    """The page and its plots, by file name."""
    measured = recorded()
    return {
        FILE.name: "\n".join(_lines(measured)) + "\n",
        LATENCY: plot(list(_latencies(measured)), x="milliseconds", y="% answered"),
        NUMBER: plot(list(_beside(measured)), x="attachments in place", y="milliseconds an Attach, p50"),
        CPU: plot(list(_cpu(measured)), x="attachments in place", y="CPU milliseconds an Attach"),
    }


def _lines(measured: Measured) -> Iterator[str]:
    yield _INTRODUCTION
    yield f"Measured on {measured.machine}.\nMilliseconds; rates are those of {measured.clients} clients.\n"
    for words, rows in measured.groups.items():
        yield f"## {words}\n"
        yield from _table(rows)
        yield ""
    yield _PEERS
    attach, floor = next(iter(measured.groups.values()))[0].attach.p(50), measured.floor.p(50)
    yield "The floor of an Attach is a gRPC call that does nothing, and the same objects by netlink messages that were"
    yield f"assembled before: it took {floor:.2f} ms, and Attach is {attach / floor:.2f} times that.\n"
    yield f"![How many of a hundred attaches were answered by then]({LATENCY})\n"
    yield "## Beside many others\n"
    yield f"![How long an Attach takes beside so many attachments]({NUMBER})\n"
    yield f"![What processor time the server takes for it]({CPU})\n"
    yield _COSTS.rstrip()


def _table(rows: Sequence[Row]) -> Iterator[str]:
    told = [cells(row, rows[0]) for row in rows]
    kept = [number for number in range(len(COLUMNS)) if any(row[number] for row in told)]
    yield f"| | {' | '.join(COLUMNS[number] for number in kept)} |"
    yield f"| --- |{' ---: |' * len(kept)}"
    for row, words in zip(rows, told, strict=True):
        yield f"| {row.name} | {' | '.join(words[number] for number in kept)} |"


def _latencies(measured: Measured) -> Iterator[Curve]:
    for row in next(iter(measured.groups.values())):
        yield Curve(row.name, [(ms, float(percent)) for percent, ms in enumerate(row.attach.percentiles, 1)])


def _beside(measured: Measured) -> Iterator[Curve]:
    yield Curve("netplumb", [(it.others, it.netplumb_ms) for it in measured.beside])
    yield Curve("Go peer", [(it.others, it.peer_ms) for it in measured.beside])


def _cpu(measured: Measured) -> Iterator[Curve]:
    yield Curve("netplumb", [(it.others, it.netplumb_cpu_ms) for it in measured.beside])
    yield Curve("Go peer", [(it.others, it.peer_cpu_ms) for it in measured.beside])


if __name__ == "__main__":
    for name, text in rendered().items():
        (DOCS / name).write_text(text)
