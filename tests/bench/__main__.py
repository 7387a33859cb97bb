"""`python -m tests.bench NAME`, which is one of those below; latency without one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from tests import namespaces
from tests.bench import damage, datapath, files, hostile, latency, paired, scale, soak, tails, ways
from tests.bench.cluster import bench as cluster
from tests.bench.peers import bench as peers
from tests.bench.policy import bench as policy


class Bench(Protocol):
    """What each benchmark's module has; `run` returns the exit status."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, given: argparse.Namespace) -> int: ...


BENCHES: Mapping[str, Bench] = {
    "latency": latency,
    "cluster": cluster,
    "datapath": datapath,
    "damage": damage,
    "files": files,
    "hostile": hostile,
    "paired": paired,
    "policy": policy,
    "ways": ways,
    "soak": soak,
    "scale": scale,
    "tails": tails,
    "peers": peers,
}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure netplumb.")
    names = parser.add_subparsers(dest="bench", required=True)
    for name, bench in BENCHES.items():
        assert bench.__doc__ is not None
        said = bench.__doc__.partition(": ")[2].partition(".")[0]
        bench.add_arguments(names.add_parser(name, help=said, description=said))
    unnamed = not words or (words[0].startswith("--") and words[0] != "--help")
    return parser.parse_args(["latency", *words] if unnamed else words)


def main() -> int:
    given = arguments(sys.argv[1:])
    namespaces.unshare_run()
    return BENCHES[given.bench].run(given)


if __name__ == "__main__":
    sys.exit(main())
