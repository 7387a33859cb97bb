"""The CNI plugin as a runtime starts it, and beside it the least that any plugin in Python costs: Python's start.

Both are started in the same way and in turn, so that a drift of the machine, and what starting a program costs, meets
both.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.bench.calls import Timed
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import installed

CONFIG = json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": "netplumb-cni"}).encode()


@dataclass(frozen=True, slots=True)
class Plugin:
    """`path` is where it is installed; `python` the interpreter in its first line."""

    path: Path
    python: str

    @classmethod
    def of(cls, daemon: Daemon) -> Plugin:
        path = installed(daemon) / "netplumb-cni"
        return cls(path, path.read_text().splitlines()[0].removeprefix("#!").split()[0])

    def adds(self, workloads: Sequence[Host]) -> tuple[Timed, Timed]:
        """Python's start and an ADD for each workload."""
        starts, adds = [], []
        for workload in workloads:
            starts.append(_timed([self.python, "-I", "-S", "-c", "pass"], {}))
            adds.append(self._call("ADD", workload))
        return Timed(starts, sum(starts)), Timed(adds, sum(adds))

    def deletes(self, workloads: Sequence[Host]) -> Timed:
        deletes = [self._call("DEL", workload) for workload in workloads]
        return Timed(deletes, sum(deletes))

    def _call(self, command: str, workload: Host) -> float:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": workload.name,
            "CNI_NETNS": workload.path,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAME={workload.name};K8S_POD_UID={workload.name}",
            "CNI_PATH": str(self.path.parent),
        }
        return _timed([str(self.path)], variables)


def _timed(words: Sequence[str], environment: Mapping[str, str]) -> float:
    started = perf_counter()
    done = subprocess.run(words, input=CONFIG, capture_output=True, env=environment, check=False)
    took = perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: exit {done.returncode}: {done.stdout.decode()}{done.stderr.decode()}")
    return took
