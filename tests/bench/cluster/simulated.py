"""Nodes without a kernel, some in each process: the real membership on a real etcd, and a view of all others after each
change, as a daemon makes it. They are told what to do through a pipe, and answer when it is done."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing as processes
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog

from netplumb.models.clustersettings import ClusterSettings
from tests.cluster.members import Node
from tests.e2e.waiting import until

IN_A_PROCESS = 50
WITHIN_S = 900.0


class Marked(Node):
    """Remembers when it came to know of each node; `holders` are those that it knows with their prefixes."""

    def __post_init__(self) -> None:
        self.seen: dict[str, float] = {}
        super().__post_init__()

    def _changed(self) -> None:
        now = time.time()
        for name in self.view.peers.keys() - self.seen.keys():
            self.seen[name] = now

    @property
    def holders(self) -> int:
        return sum(bool(it.prefixes) for it in self.view.peers.values())

    @property
    def follows(self) -> bool:
        return not self.conditions


async def _all_of(nodes: list[Marked], true: Callable[[Marked], bool]) -> None:
    """Looks at each now and then, which costs little."""
    for node in nodes:
        await until(partial(true, node), f"of {node.name}: {list(node.conditions.values())}", within_s=WITHIN_S)


def _run(pipe: Connection, settings: ClusterSettings, place: Path, names: list[str]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_obey(pipe, settings, place, names))


async def _obey(pipe: Connection, settings: ClusterSettings, place: Path, names: list[str]) -> None:
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
                await _all_of(nodes, lambda node, number=rest[0]: node.holders >= number)  # type: ignore[misc]
            case "follow":
                await _all_of(nodes, lambda node: node.follows)
            case "lose":
                await _all_of(nodes, lambda node: not node.follows)
            case "seen":
                await _all_of(nodes, lambda node, name=rest[0]: name in node.seen)  # type: ignore[misc]
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((used.ru_utime + used.ru_stime, [node.seen.get(rest[0], 0.0) if rest else 0.0 for node in nodes]))


class Crowd:
    """Nodes of one cluster. `cpu_s` is what all of them together have used since their processes began."""

    def __init__(self, settings: ClusterSettings, place: Path, names: list[str]) -> None:
        context = processes.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self.cpu_s = 0.0
        for first in range(0, len(names), IN_A_PROCESS):
            ours, theirs = context.Pipe()
            some = names[first : first + IN_A_PROCESS]
            process = context.Process(target=_run, args=(theirs, settings, place, some), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def ask(self, *words: object) -> list[float]:
        """When each node saw what is asked for, once all have."""
        for pipe in self._pipes:
            pipe.send(words)
        answers = [pipe.recv() for pipe in self._pipes]
        self.cpu_s = sum(cpu for cpu, _ in answers)
        return [at for _, seen in answers for at in seen]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


@contextmanager
def crowd(settings: ClusterSettings, place: Path, names: list[str]) -> Iterator[Crowd]:
    made = Crowd(settings, place, names)
    try:
        yield made
        made.ask("stop")
    finally:
        made.end()
