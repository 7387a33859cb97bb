"""The Go peer: built from its source here with Debian's packages, and run on a node of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.floor import set_up_node
from tests.bench.wires import opened
from tests.e2e.daemons import ROOT, STOP_WITHIN_S
from tests.e2e.hosts import Host

SOURCE = Path(__file__).with_name("gopeer")
GENERATED = ROOT / "api" / "go" / "cniproxy" / "internal" / "netplumbv1"
DEBIAN_GOPATH = Path("/usr/share/gocode")
BUILT_WITHIN_S = 600


def built(directory: Path) -> Path:
    """The program. It wants Debian's golang-go, golang-google-grpc-dev and golang-github-vishvananda-netlink-dev."""
    sources = directory / "go" / "src"
    for source in (SOURCE, GENERATED):
        shutil.copytree(source, sources / source.name)
    environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{directory / 'go'}:{DEBIAN_GOPATH}"}
    program = directory / SOURCE.name
    words = ["go", "build", "-o", str(program), SOURCE.name]
    subprocess.run(words, env=environment, check=True, timeout=BUILT_WITHIN_S)
    return program


@contextmanager
def serving(program: Path, node: Host, socket: Path) -> Iterator[int]:
    """Runs it on the node, set up as netplumb does; its process id. Clients wait until it listens."""
    with node.enter(), opened() as wire:
        set_up_node(wire)
    process = subprocess.Popen(node.command(str(program), str(socket)))
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(STOP_WITHIN_S)
