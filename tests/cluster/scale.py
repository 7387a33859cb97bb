"""How a cluster grows: `python -m tests.cluster.scale NODES…`. Nodes without a kernel (the real membership, some in
each process), on a real etcd; what they cost it and themselves.

- join: all at once, until each knows all others with their prefixes
- change: from the moment before a write to the moment at which a node knows it, of all nodes
- cpu: of the nodes' processes, for each node and change
- bytes: what etcd sent, for each node and change
- again: all daemons are started anew at once, with what they knew, until all follow etcd
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing as processes
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from netplumb.models.clustersettings import ClusterSettings
from tests.cluster.etcds import Etcd, running
from tests.cluster.members import Node
from tests.e2e.waiting import until

IN_A_PROCESS = 50
CHANGES = 40
WITHIN_S = 300.0
POOLS = [{"cidr": "10.0.0.0/8"}]


class Marked(Node):
    """Makes a view of each change, as a daemon does, and remembers when it came to know of each node."""

    def __post_init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.holders = 0
        super().__post_init__()

    def _changed(self) -> None:
        peers, now = self.view.peers, time.time()
        self.holders = sum(bool(it.prefixes) for it in peers.values())
        for name in peers.keys() - self.seen.keys():
            self.seen[name] = now

    def knows(self, number: int) -> bool:
        return self.holders >= number

    @property
    def follows(self) -> bool:
        return not self.conditions


async def all_of(nodes: list[Marked], true: Callable[[Marked], bool]) -> None:
    """Looks at each now and then, which costs little."""
    for node in nodes:
        await until(partial(true, node), f"of {node.name}", within_s=WITHIN_S)


def some_nodes(pipe: Connection, settings: ClusterSettings, place: Path, names: list[str]) -> None:
    asyncio.run(_some_nodes(pipe, settings, place, names))


async def _some_nodes(pipe: Connection, settings: ClusterSettings, place: Path, names: list[str]) -> None:
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    nodes: list[Marked] = []
    while True:
        word, *rest = await asyncio.to_thread(pipe.recv)
        match word:
            case "start":
                nodes = [Marked(settings, name, place) for name in names]
                for node in nodes:
                    node.start()
            case "stop":
                await asyncio.gather(*(node.stop() for node in nodes))
            case "know":
                await all_of(nodes, lambda node, number=rest[0]: node.knows(number))  # type: ignore[misc]
            case "follow":
                await all_of(nodes, lambda node: node.follows)
            case "seen":
                await all_of(nodes, lambda node, name=rest[0]: name in node.seen)  # type: ignore[misc]
            case "end":
                return
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((used.ru_utime + used.ru_stime, [node.seen.get(rest[0], 0.0) if rest else 0.0 for node in nodes]))


def asked(pipes: list[Connection], *words: object) -> tuple[float, list[float]]:
    """The answers of all processes: what they used of the CPU until now, and when each node saw what is asked for."""
    for pipe in pipes:
        pipe.send(words)
    answers = [pipe.recv() for pipe in pipes]
    return sum(cpu for cpu, _ in answers), [at for _, seen in answers for at in seen]


def sent_bytes(etcd: Etcd) -> float:
    text = urlopen(f"{etcd.endpoints[0]}/metrics").read().decode()
    line = next(it for it in text.splitlines() if it.startswith("etcd_network_client_grpc_sent_bytes_total"))
    return float(line.split()[1])


def measure(etcd: Etcd, number: int, place: Path) -> None:
    settings = etcd.settings(pools=POOLS, lease_s=30.0, silence_s=20.0, reread_s=600.0, prefix=f"/of-{number}")
    pipes, started = [], []
    context = processes.get_context("spawn")
    for first in range(0, number, IN_A_PROCESS):
        ours, theirs = context.Pipe()
        names = [f"n{it}" for it in range(first, min(number, first + IN_A_PROCESS))]
        process = context.Process(target=some_nodes, args=(theirs, settings, place, names))
        process.start()
        pipes.append(ours)
        started.append(process)
    began = time.monotonic()
    asked(pipes, "start")
    cpu_joined, _ = asked(pipes, "know", number - 1)
    joined_s = time.monotonic() - began
    time.sleep(2)
    cpu, _ = asked(pipes, "follow")
    before, took = sent_bytes(etcd), []
    for change in range(CHANGES):
        name, at = f"marker-{change}", time.time()
        etcd.ctl("put", f"/of-{number}/shared/nodes/{name}", json.dumps({"identity": {"boot": str(change)}}))
        took += [seen - at for seen in asked(pipes, "seen", name)[1]]
    cpu_after, _ = asked(pipes, "follow")
    cut = quantiles(took, n=100)
    each = number * CHANGES
    sent = (sent_bytes(etcd) - before) / each
    asked(pipes, "stop")
    before_again, began = sent_bytes(etcd), time.monotonic()
    asked(pipes, "start")
    asked(pipes, "follow")
    again_s = time.monotonic() - began
    again_bytes = (sent_bytes(etcd) - before_again) / number
    print(
        f"{number:5} nodes: join {joined_s:6.1f} s and {cpu_joined / number:5.2f} s of CPU each; "
        f"change p50 {cut[49] * 1000:5.0f} ms, p99 {cut[98] * 1000:5.0f} ms, {1000 * (cpu_after - cpu) / each:5.2f} ms "
        "of CPU "
        f"and {sent:5.0f} bytes each; again {again_s:5.1f} s and {again_bytes / 1024:6.1f} KiB each",
        flush=True,
    )
    for pipe in pipes:
        pipe.send(("stop",))
        pipe.recv()
        pipe.send(("end",))
    for process in started:
        process.join()


def main() -> None:
    for number in map(int, sys.argv[1:]):
        with running() as etcd, TemporaryDirectory(prefix="np-scale-") as place:
            measure(etcd, number, Path(place))


if __name__ == "__main__":
    main()
