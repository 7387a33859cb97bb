"""`python -m tests.bench cluster`: what many nodes cost themselves, each other and etcd.

Simulated nodes are the real membership without a kernel, on a real etcd of three members; real ones are daemons in
namespaces on one link, whose kernels are looked at from outside.

- join: all at once, until each knows all others with their prefixes
- idle: nothing happens, for half a minute
- change: from the moment before a write to the moment at which a node knows it, of all nodes
- new: one more node, until it knows all
- again: all daemons are started anew at once, with what they knew, until all follow etcd
- back: all of etcd is killed and started anew, until all follow it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Self
from urllib.request import urlopen

from tests.bench.cluster.measured import FILE, Grown, Measured, Reach, record, recorded
from tests.bench.cluster.simulated import Crowd, crowd
from tests.cluster.etcds import Etcd, running
from tests.cluster.reach import taken_s
from tests.cluster.sites import site
from tests.damage.measured import machine

POOLS = [{"cidr": "10.0.0.0/8"}]
IDLE_S = 30.0
LEASE_S = 300.0
"""So long that nobody is taken for away who only waits for a processor: all nodes are on one machine."""

BYTES = ("etcd_network_client_grpc_sent_bytes_total", "etcd_network_client_grpc_received_bytes_total")
CPU, MEMORY, WATCHES = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "etcd_debugging_mvcc_watcher_total",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", default="50,200,1000", help="simulated nodes, one run each (%(default)s)")
    parser.add_argument("--changes", type=int, default=20, help="changes in each run (%(default)s)")
    parser.add_argument("--real", type=int, default=20, help="real nodes; 0 for none (%(default)s)")
    parser.add_argument("--record", action="store_true", help="keep the numbers for docs/scale.md")


@dataclass(frozen=True, slots=True)
class Load:
    """Of etcd's members together, and of the simulated nodes."""

    bytes: float
    etcd_s: float
    nodes_s: float

    @classmethod
    def of(cls, etcd: Etcd, nodes: Crowd) -> Self:
        told = _metrics(etcd)
        return cls(sum(told[name] for name in BYTES), told[CPU], nodes.cpu_s)

    def since(self, before: Load, number: int) -> Load:
        """For each of so many."""
        return Load(
            (self.bytes - before.bytes) / number,
            (self.etcd_s - before.etcd_s) / number,
            (self.nodes_s - before.nodes_s) / number,
        )


def _metrics(etcd: Etcd) -> Mapping[str, float]:
    """Summed over the members."""
    wanted = (*BYTES, CPU, MEMORY, WATCHES)
    found = dict.fromkeys(wanted, 0.0)
    for endpoint in etcd.endpoints:
        for line in urlopen(f"{endpoint}/metrics").read().decode().splitlines():
            name, _, value = line.partition(" ")
            if name in found:
                found[name] += float(value)
    return found


def grown(number: int, changes: int, place: Path) -> Grown:
    with running(3) as etcd:
        settings = etcd.settings(pools=POOLS, lease_s=LEASE_S, silence_s=20.0, reread_s=600.0)
        with crowd(settings, place, [f"n{it}" for it in range(number)]) as nodes:
            nodes.ask("know", 0)
            before, began = Load.of(etcd, nodes), time.monotonic()
            nodes.ask("start")
            nodes.ask("know", number - 1)
            join_s = time.monotonic() - began
            nodes.ask("follow")
            join = Load.of(etcd, nodes).since(before, number)
            watches = _metrics(etcd)[WATCHES] / number
            _say(f"{number} nodes joined in {join_s:.1f} s")

            time.sleep(3)
            nodes.ask("follow")
            before = Load.of(etcd, nodes)
            time.sleep(IDLE_S)
            nodes.ask("follow")
            idle = Load.of(etcd, nodes).since(before, number)

            before, took = Load.of(etcd, nodes), []
            for change in range(changes):
                name, at = f"marker-{change}", time.time()
                etcd.ctl("put", f"/netplumb/shared/nodes/{name}", json.dumps({"identity": {"boot": str(change)}}))
                took += [seen - at for seen in nodes.ask("seen", name)]
            change_load = Load.of(etcd, nodes).since(before, number * changes)
            cut = quantiles(took, n=100)
            _say(f"a change is known after {cut[49] * 1000:.0f} ms, at the 99th percentile {cut[98] * 1000:.0f} ms")

            with crowd(settings, place, ["new"]) as one:
                one.ask("know", 0)
                first, began = one.cpu_s, time.monotonic()
                before = Load.of(etcd, nodes)
                one.ask("start")
                one.ask("know", number)
                new_s = time.monotonic() - began
                new_cpu_s = one.cpu_s - first
                new_bytes = Load.of(etcd, nodes).bytes - before.bytes
            _say(f"a new node knows all after {new_s:.2f} s")

            nodes.ask("stop")
            before, began = Load.of(etcd, nodes), time.monotonic()
            nodes.ask("start")
            nodes.ask("follow")
            again_s = time.monotonic() - began
            again = Load.of(etcd, nodes).since(before, number)
            _say(f"all daemons again: {again_s:.1f} s")

            memory = _metrics(etcd)[MEMORY]
            etcd.kill()
            nodes.ask("lose")
            first = nodes.cpu_s
            etcd.start()
            began = time.monotonic()
            nodes.ask("follow")
            back_s = time.monotonic() - began
            back = Load.of(etcd, nodes)
            _say(f"all of etcd again: {back_s:.1f} s")
    return Grown(
        nodes=number,
        join_s=join_s,
        join_bytes=join.bytes,
        join_cpu_ms=join.nodes_s * 1e3,
        join_etcd_ms=join.etcd_s * 1e3,
        watches=watches,
        idle_bytes=idle.bytes * 60 / IDLE_S,
        idle_cpu_ms=idle.nodes_s * 1e3 * 60 / IDLE_S,
        idle_etcd_ms=idle.etcd_s * 1e3 * 60 / IDLE_S,
        change_p50_ms=cut[49] * 1e3,
        change_p99_ms=cut[98] * 1e3,
        change_bytes=change_load.bytes,
        change_cpu_ms=change_load.nodes_s * 1e3,
        change_etcd_ms=change_load.etcd_s * 1e3,
        new_s=new_s,
        new_bytes=new_bytes,
        new_cpu_ms=new_cpu_s * 1e3,
        again_s=again_s,
        again_bytes=again.bytes,
        again_cpu_ms=again.nodes_s * 1e3,
        again_etcd_ms=again.etcd_s * 1e3,
        back_s=back_s,
        back_bytes=back.bytes / number,  # the members counted anew
        back_cpu_ms=(back.nodes_s - first) * 1e3 / number,
        etcd_mib=memory / 3 / (1 << 20),
    )


def reach(number: int, changes: int, mode: str) -> Reach:
    async def measured(place: Path) -> list[float]:
        async with site(number, place, mode=mode) as it:
            return [each for change in range(changes) for each in await taken_s(it, change)]

    with TemporaryDirectory(prefix="np-reach-") as place:
        took = asyncio.run(measured(Path(place)))
    cut = quantiles(took, n=100)
    p50, p99, most = (round(it * 1e3, 1) for it in (cut[49], cut[98], max(took)))
    _say(f"{number} real nodes, {mode}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    return Reach(number, changes, p50, p99, most)


def _say(words: str) -> None:
    print(words, flush=True)


def _rounded(it: Grown) -> Grown:
    return Grown(**{name: value if name == "nodes" else round(value, 2) for name, value in asdict(it).items()})


def _numbers(text: str) -> Sequence[int]:
    return [int(it) for it in text.split(",") if it]


def run(given: argparse.Namespace) -> int:
    """Of simulated or of real nodes alone where the others are none, which then stay as they are recorded. Fails where
    a node's watches grow with the number of nodes."""
    told = machine(os.getloadavg()[0])
    found = []
    for number in _numbers(given.nodes):
        with TemporaryDirectory(prefix="np-scale-") as place:
            found.append(_rounded(grown(number, given.changes, Path(place))))
        _say(json.dumps(asdict(found[-1])))
    real = {mode: reach(given.real, given.changes, mode) for mode in ("routes", "vxlan")} if given.real else {}
    if given.record:
        version = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
        etcd = version.splitlines()[0].removeprefix("etcd Version: ")
        kept = recorded() if FILE.exists() else Measured(told, etcd)
        record(Measured(told, etcd, tuple(found) or kept.grown, real or kept.reach))
    return int(len({round(it.watches) for it in found}) > 1)
