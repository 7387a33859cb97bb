"""The command `netplumb` on a node that a file tells of its cluster: `python -m tests.e2e.told`, as forks.py starts it.
The first word for each of its forks is that file.

What is replaced is where a view of the cluster comes from, so that what is shown of the ways between nodes is shown
whatever etcd does meanwhile. The prefixes that the view says the node holds are its pools, as they are with etcd.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from unittest import mock

from netplumb.models.cluster import ClusterMode, ClusterView, HeldPrefix, Peer, Underlay
from netplumb.models.network import Pool
from netplumb.models.settings import Settings
from netplumb.reconciler import daemon, main, wiring
from tests.e2e.forking import run_to_end, words_to_run
from tests.e2e.preloaded import load

LOOK_S = 0.02


def view_of(told: dict[str, Any]) -> ClusterView:
    peers = {name: Peer(name, _underlay(it["underlay"]), _held(it["prefixes"])) for name, it in told["peers"].items()}
    pools = tuple(map(ip_network, told["pools"]))
    mode = ClusterMode(told["mode"])
    return ClusterView(told["node"], mode, _underlay(told["underlay"]), pools, _held(told["prefixes"]), peers)


def _underlay(addresses: list[str]) -> Underlay:
    by_version = {it.version: it for it in map(ip_address, addresses)}
    return Underlay(by_version.get(4), by_version.get(6))


def _held(cidrs: list[str]) -> tuple[HeldPrefix, ...]:
    return tuple(HeldPrefix(ip_network(it), ip_network(it)) for it in cidrs)


def views(file: Path) -> Iterator[ClusterView | None]:
    """The view whenever the file says another one, and None else."""
    last = ""
    while True:
        with suppress(OSError, ValueError):
            if (text := file.read_text()) != last:
                view = view_of(json.loads(text))
                last = text
                yield view
                continue
        yield None


def told_by(file: Path) -> None:
    """From now on the daemon of this process is."""
    run, begin = daemon.run, wiring.Parts.begin
    told = views(file)

    async def run_with_pools(settings: Settings, reload: Callable[[], Settings]) -> None:
        await run(_with_pools(settings, file), lambda: _with_pools(reload(), file))

    async def follow(parts: wiring.Parts) -> None:
        for view in told:
            if view is not None:
                parts.cluster_seen(view)
            await asyncio.sleep(LOOK_S)

    def begin_told(parts: wiring.Parts) -> None:
        begin(parts)
        parts._loading.loaded("cluster")  # which wants nothing of the node
        if (first := next(told)) is not None:
            parts.cluster_seen(first)
        parts.following = asyncio.get_running_loop().create_task(follow(parts))  # type: ignore[attr-defined]

    mock.patch.object(daemon, "run", run_with_pools).start()
    mock.patch.object(wiring.Parts, "begin", begin_told).start()


def _with_pools(settings: Settings, file: Path) -> Settings:
    """Where the node holds nothing of the cluster, it has pools of its own."""
    own = json.loads(file.read_text())["prefixes"]
    return settings.model_copy(update={"pools": tuple(Pool(cidr=it) for it in own)}) if own else settings


if __name__ == "__main__":
    load()
    import_module("netplumb.reconciler.loop.ways")
    file, *words = words_to_run(int(sys.argv[1]))
    told_by(Path(file))
    sys.argv = ["netplumb", *words]
    run_to_end(main.main)
