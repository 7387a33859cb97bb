"""Programs that give a namespace its network, one run for each end of an attachment: CNI plugins, alone or as a chain,
and netavark. The time is that of whole processes, as a runtime pays it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from tests.bench.calls import Timed
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import installed

CNI_PLUGINS = Path("/usr/lib/cni")
NETAVARK = Path("/usr/lib/podman/netavark")

Conf: TypeAlias = dict[str, Any]

LIMITS = {"ingressRate": 100_000_000, "ingressBurst": 1_000_000, "egressRate": 100_000_000, "egressBurst": 1_000_000}


@dataclass(frozen=True, slots=True)
class Program:
    """`add` and `delete` are run on the node, for the workload with that number."""

    name: str
    node: Host
    workloads: Sequence[Host]
    add: Callable[[int], None]
    delete: Callable[[int], None]

    def adds(self, number: int) -> float:
        return self._timed(self.add, number)

    def deletes(self, number: int) -> float:
        return self._timed(self.delete, number)

    def _timed(self, work: Callable[[int], None], number: int) -> float:
        with self.node.enter():
            started = perf_counter()
            work(number)
            return perf_counter() - started


def in_turn(programs: Sequence[Program], count: int, rounds: int) -> list[tuple[Timed, Timed]]:
    """What attaching and detaching took, for each program; one workload after the other, each by every program."""
    adds: list[list[float]] = [[] for _ in programs]
    deletes: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for took, what in ((adds, Program.adds), (deletes, Program.deletes)):
            for number in range(count):
                for each, program in zip(took, programs, strict=True):
                    each.append(what(program, number))
    return [(Timed(a, sum(a)), Timed(d, sum(d))) for a, d in zip(adds, deletes, strict=True)]


@dataclass(slots=True)
class Chain:
    """CNI plugins as a runtime calls them: each is told what those before it came to, and on the way down in reverse
    what all came to."""

    directory: Path
    plugins: Callable[[int], Sequence[Conf]]
    workloads: Sequence[Host]
    results: dict[int, Conf] = field(default_factory=dict)

    def add(self, number: int) -> None:
        result: Conf = {}
        for conf in self.plugins(number):
            result = json.loads(self._call("ADD", conf, number, result))
        self.results[number] = result

    def delete(self, number: int) -> None:
        for conf in reversed(self.plugins(number)):
            self._call("DEL", conf, number, self.results[number])

    def _call(self, command: str, conf: Conf, number: int, result: Conf) -> bytes:
        workload = self.workloads[number]
        before = {"prevResult": result} if result else {}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": workload.name,
            "CNI_NETNS": workload.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.directory),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        words = [str(self.directory / conf["type"])]
        return _run(words, {"cniVersion": "1.0.0", "name": "peers", **conf, **before}, variables)


def _port(number: int) -> Conf:
    return {"hostPort": 8080 + number, "containerPort": 80, "protocol": "tcp"}


def netplumb(daemon: Daemon, workloads: Sequence[Host], compiled: Path | None, *, features: bool) -> Program:
    """Its plugin for CNI, which asks the daemon: the compiled one, or the script."""

    def plugins(number: int) -> list[Conf]:
        conf: Conf = {"type": "netplumb-cni"}
        if features:
            conf["capabilities"] = {"portMappings": True, "bandwidth": True}
            conf["runtimeConfig"] = {"portMappings": [_port(number)], "bandwidth": LIMITS}
        return [conf]

    chain = Chain(installed(daemon, compiled=compiled), plugins, workloads)
    return Program(
        "netplumb-cni" if compiled else "the same as a script", daemon.node, workloads, chain.add, chain.delete
    )


def ptp(node: Host, workloads: Sequence[Host], leases: Path, *, features: bool) -> Program:
    """The reference plugins: a veth by ptp with host-local's addresses, and what maps ports and limits."""
    ranges = [[{"subnet": "10.215.0.0/16"}], [{"subnet": "fd15::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": str(leases)}

    def plugins(number: int) -> list[Conf]:
        chain: list[Conf] = [{"type": "ptp", "ipMasq": True, "mtu": 1500, "ipam": ipam}]
        if features:
            chain.append({"type": "portmap", "snat": True, "runtimeConfig": {"portMappings": [_port(number)]}})
            chain.append({"type": "bandwidth", "runtimeConfig": {"bandwidth": LIMITS}})
        return chain

    chain = Chain(CNI_PLUGINS, plugins, workloads)
    return Program(" + ".join(it["type"] for it in plugins(0)), node, workloads, chain.add, chain.delete)


def netavark(node: Host, workloads: Sequence[Host], directory: Path) -> Program:
    """Podman's, with a bridge, which is what it has for one node."""

    def call(what: str, number: int) -> None:
        file = directory / f"{number}.json"
        if not file.exists():
            file.write_text(json.dumps(_for_netavark(number)))
        _run([str(NETAVARK), "--file", str(file), what, workloads[number].path], {}, {"PATH": "/usr/sbin:/usr/bin"})

    return Program("netavark", node, workloads, lambda it: call("setup", it), lambda it: call("teardown", it))


def _for_netavark(number: int) -> Conf:
    ips = [f"10.216.{number // 250}.{number % 250 + 2}", f"fd16::{number + 2:x}"]
    subnets = [{"subnet": "10.216.0.0/16", "gateway": "10.216.0.1"}, {"subnet": "fd16::/64", "gateway": "fd16::1"}]
    network = {
        "name": "podman",
        "id": "0" * 64,
        "driver": "bridge",
        "network_interface": "podman0",
        "subnets": subnets,
        "ipv6_enabled": True,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }
    return {
        "container_id": f"{number:064x}",
        "container_name": f"w{number}",
        "networks": {"podman": {"interface_name": "eth0", "static_ips": ips}},
        "network_info": {"podman": network},
    }


def _run(words: Sequence[str], given: Conf, variables: Mapping[str, str]) -> bytes:
    done = subprocess.run(words, input=json.dumps(given).encode(), capture_output=True, env=variables, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: exit {done.returncode}: {done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout
