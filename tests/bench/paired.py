"""`python -m tests.bench paired`: what metrics, page and remote clients cost an Attach, or another version of netplumb.

Two daemons on nodes of their own are asked in turn, each pair in the other order than the last one, so that whatever
else the machine does meets both. What counts is the median of the pairs' ratios, and how sure that is.

Exits with 1 when an Attach surely costs more than 2% more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import Call, attach, connected, detach
from tests.bench.objects import POOLS
from tests.bench.servers import AS_BY_DEFAULT
from tests.e2e.certificates import Authority
from tests.e2e.daemons import INSTALLED, Daemon
from tests.e2e.hosts import Host, temporary

WARM_UP = 20
MOST = 1.02
RESAMPLED = 2000
_SEED = 1
_METRICS, _PAGE, _REMOTE = "127.0.0.1:9478", "127.0.0.1:9479", "127.0.0.1:9480"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ratios of the second daemon's to the first's: the likeliest, and within what it is in 95 of 100 cases."""

    first_s: float
    second_s: float
    ratio: float
    least: float
    most: float

    @property
    def failed(self) -> bool:
        return self.least > MOST


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=400, help="pairs of attaches that count (%(default)s)")
    parser.add_argument("--workloads", type=int, default=50, help="namespaces for each daemon (%(default)s)")
    parser.add_argument(
        "--other", type=Path, help="the command of another version, which is the first; both with everything off"
    )


def run(given: argparse.Namespace) -> int:
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        pairs = asyncio.run(measure(Path(directory), given.pairs, given.workloads, given.other))
    found = judged(pairs)
    what = "the other version, and this one" if given.other else "everything off, and on"
    medians = f"{found.first_s * 1e3:.2f} and {found.second_s * 1e3:.2f} ms"
    within = f"95% within {found.least - 1:+.1%} to {found.most - 1:+.1%}"
    print(f"attach, {len(pairs)} pairs, load {load:.1f}: {what}: {medians} (medians)")
    print(f"by pairs {found.ratio - 1:+.1%}, {within}")
    return int(found.failed)


def judged(pairs: list[tuple[float, float]]) -> Verdict:
    """By the pairs' ratios, drawn again and again from among them."""
    ratios = [second / first for first, second in pairs]
    draws = random.Random(_SEED)
    cuts = quantiles([median(draws.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED)], n=40)
    firsts, seconds = zip(*pairs, strict=True)
    return Verdict(median(firsts), median(seconds), median(ratios), cuts[0], cuts[-1])


async def measure(directory: Path, pairs: int, workloads: int, other: Path | None) -> list[tuple[float, float]]:
    async with AsyncExitStack() as stack:

        def hosts(prefix: str) -> list[Host]:
            return [stack.enter_context(temporary(f"{prefix}-{number}")) for number in range(workloads)]

        clients = []
        for name in ("first", "second"):
            node = stack.enter_context(temporary(name))
            program = (str(other),) if other is not None and name == "first" else INSTALLED
            daemon = Daemon(node, directory / name, pools=POOLS, flags=AS_BY_DEFAULT, program=program)
            stack.callback(daemon.end)
            if other is None and name == "second":
                node.ip("link set lo up")
                daemon.configure(pools=POOLS, **_everything(directory))
            await daemon.start()
            clients += await stack.enter_async_context(connected(daemon.socket, 1))
            assert not [it for it in (await clients[-1].status()).conditions if it.type.endswith("Unavailable")]
        first, second = hosts("a"), hosts("b")
        found = [
            await _pair(clients, (first[number % workloads], second[number % workloads]), turned=bool(number % 2))
            for number in range(WARM_UP + pairs)
        ]
        return found[WARM_UP:]


async def _pair(clients: list[AsyncClient], on: tuple[Host, Host], *, turned: bool) -> tuple[float, float]:
    took = [0.0, 0.0]
    for which in (1, 0) if turned else (0, 1):
        took[which] = await _timed(clients[which], attach(on[which]))
    for which in (0, 1):
        await detach(on[which])(clients[which])
    return took[0], took[1]


async def _timed(client: AsyncClient, call: Call) -> float:
    started = perf_counter()
    await call(client)
    return perf_counter() - started


def _everything(directory: Path) -> dict[str, Any]:
    authority = Authority(directory / "certs").founded()
    authority.issued("node", alternative="IP:127.0.0.1")
    return {
        "metrics": _METRICS,
        "ui": _PAGE,
        "remote": _REMOTE,
        "remote_cert": str(authority.place / "node.crt"),
        "remote_key": str(authority.place / "node.key"),
        "remote_ca": str(authority.certificate),
        "remote_read": ["nobody"],
    }
