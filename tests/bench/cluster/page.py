"""Writes docs/scale.md from the last measurement: `python -m tests.bench.cluster.page`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.cluster.measured import Grown, Measured, recorded

FILE = Path(__file__).parents[3] / "docs" / "scale.md"
FAR = 10_000

_INTRODUCTION = """\
# How a cluster grows

What many nodes cost themselves, each other and etcd. This page is written by `python -m tests.bench.cluster.page` from
the last run of `make bench-cluster`; do not edit it.

Simulated nodes are the real membership (the real client, mirror, prefixes, and the view of all others after each
change) without a kernel, on a real etcd of three members, all on one machine: how long something takes is mostly how
long that machine's processors take for all nodes together, so take the bytes and the processor time. What the kernel
side of a change costs, 0.2 to 0.5 ms, is measured by `python -m tests.bench ways`.
"""

_ROWS: Sequence[tuple[str, Callable[[Grown], float]]] = (
    ("All join at once: seconds until each knows all", lambda it: it.join_s),
    ("… bytes to and from etcd", lambda it: it.join_bytes),
    ("… CPU ms of the node", lambda it: it.join_cpu_ms),
    ("… CPU ms of etcd", lambda it: it.join_etcd_ms),
    ("Watches", lambda it: it.watches),
    ("Idle, a minute: bytes", lambda it: it.idle_bytes),
    ("… CPU ms of the node", lambda it: it.idle_cpu_ms),
    ("… CPU ms of etcd", lambda it: it.idle_etcd_ms),
    ("A change of another node: ms until known, p50", lambda it: it.change_p50_ms),
    ("… p99", lambda it: it.change_p99_ms),
    ("… bytes", lambda it: it.change_bytes),
    ("… CPU ms of the node", lambda it: it.change_cpu_ms),
    ("… CPU ms of etcd", lambda it: it.change_etcd_ms),
    ("A new node: seconds until it knows all", lambda it: it.new_s),
    ("… bytes", lambda it: it.new_bytes),
    ("… CPU ms", lambda it: it.new_cpu_ms),
    ("All daemons again at once: seconds until all follow", lambda it: it.again_s),
    ("… bytes", lambda it: it.again_bytes),
    ("… CPU ms of the node", lambda it: it.again_cpu_ms),
    ("… CPU ms of etcd", lambda it: it.again_etcd_ms),
    ("All of etcd again: seconds until all follow", lambda it: it.back_s),
    ("… bytes", lambda it: it.back_bytes),
    ("… CPU ms of the node", lambda it: it.back_cpu_ms),
    ("A member of etcd: MiB", lambda it: it.etcd_mib),
)
_OF_THIS_MACHINE = ("seconds until", "ms until known", "… p99")

_READING = """\
Figures are for each node, and those of a change for each node and change. The last column is the straight line through
the two largest runs: what it says of {far} nodes was not measured. Where one machine did the work of all nodes, the
line says nothing of as many machines, and is left out.

- A node asks etcd for its own keys when it claims a prefix, for all keys when it comes for the first time or was away
  for longer than etcd remembers, in pages of 500, and for nothing else: changes come by its watches, whose number
  does not grow with the nodes.
- Daemons that are started anew resume from what they kept, and ask for no more than what changed meanwhile. They begin
  up to 5 ms for each node that they know apart from each other, 10 s at most; what they know holds until then.
- All keys are compared again every `reread_s`, at a time that differs by a quarter from node to node, as do the waits
  of nodes that lost etcd at the same moment.
"""


def rendered() -> str:
    return "\n".join(_lines(recorded()))


def _lines(measured: Measured) -> Iterator[str]:
    yield _INTRODUCTION
    yield f"Measured on {measured.machine}, etcd {measured.etcd}.\n"
    grown = sorted(measured.grown, key=lambda it: it.nodes)
    heads = [*(f"{it.nodes} nodes" for it in grown), f"{FAR:,} by the slope"]
    yield f"| | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for name, value in _ROWS:
        values = [value(it) for it in grown]
        far = "" if any(it in name for it in _OF_THIS_MACHINE) else _shown(_far(grown, value))
        yield f"| {name} | {' | '.join([*map(_shown, values), far])} |"
    yield ""
    yield _READING.format(far=f"{FAR:,}")
    if measured.reach:
        yield "## From one node's word to the others' kernels\n"
        yield (
            "Real daemons in namespaces on one link, whose routes are read from outside: from before the write to etcd "
            "until a\nnode has the route. Milliseconds.\n"
        )
        yield "| | nodes | changes | p50 | p99 | longest |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: |"
        for mode, it in measured.reach.items():
            yield f"| {mode} | {it.nodes} | {it.changes} | {it.p50_ms:.0f} | {it.p99_ms:.0f} | {it.most_ms:.0f} |"
        yield ""


def _far(grown: Sequence[Grown], value: Callable[[Grown], float]) -> float:
    """By the line through the two largest; never less than the largest says, which would be noise."""
    one, other = grown[-2:]
    slope = (value(other) - value(one)) / (other.nodes - one.nodes)
    return max(value(other), value(other) + slope * (FAR - other.nodes))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


if __name__ == "__main__":
    FILE.write_text(rendered())
