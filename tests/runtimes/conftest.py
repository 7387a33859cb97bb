"""Real runtimes on a node that a namespace plays, beside the real daemon.

What runs pods comes in two flavours: Debian's containerd with the CNI plugin, and containerd rebuilt with the Go
drop-in in place of go-cni.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.conftest import client, daemon, directory, make_host, node, outside, own_run, start_daemon, web
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.runtimes import places
from tests.runtimes.containerd import Containerd
from tests.runtimes.kubelet import Kubelet
from tests.runtimes.networks import installed
from tests.runtimes.remains import Remains

__all__ = ["client", "daemon", "directory", "make_host", "node", "outside", "own_run", "start_daemon", "web"]

Flavour = Literal["plugin", "drop-in"]

BUILD = Path(__file__).with_name("build_containerd.py")
BUILT_WITHIN_S = 1800.0


@pytest.fixture(scope="session", autouse=True)
def machine_left_alone() -> Iterator[None]:
    """Runtimes like to make bridges and rules: none of it reaches the machine's own network."""
    before = _own_network()
    yield
    assert _own_network() == before


def _own_network() -> list[str]:
    looks = ("ip -brief link", "ip route", "ip -6 route", "ip rule", "nft list ruleset")
    return [subprocess.run(look.split(), capture_output=True, text=True, check=True).stdout for look in looks]


@pytest.fixture(scope="session", autouse=True)
def own_places(own_run: None) -> None:
    """Directories that runtimes have built in are empty, and this test process's own."""
    places.make_own()


@pytest.fixture(scope="session")
def rebuilt() -> str:
    """Path of a containerd that speaks to netplumb itself; it is built once and kept outside the repository."""
    done = subprocess.run(
        [sys.executable, str(BUILD)], stdout=subprocess.PIPE, text=True, timeout=BUILT_WITHIN_S, check=False
    )
    assert done.returncode == 0, f"containerd was not built: exit {done.returncode}"
    return done.stdout.splitlines()[-1]


@pytest.fixture(params=["plugin", "drop-in"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """How containerd reaches netplumb."""
    chosen: Flavour = request.param
    return chosen


@pytest.fixture
async def containerd(
    request: pytest.FixtureRequest, flavour: Flavour, daemon: Daemon, node: Host, directory: Path
) -> AsyncIterator[Containerd]:
    """A containerd whose pods are netplumb's."""
    with ExitStack() as stack:
        if flavour == "plugin":
            stack.enter_context(installed(daemon))
            containerd = Containerd(node, directory / "containerd")
        else:
            environment = {"NETPLUMB_SOCKET": str(daemon.socket)}
            binary = request.getfixturevalue("rebuilt")
            containerd = Containerd(node, directory / "containerd", binary=binary, environment=environment)
        stack.callback(containerd.end)
        yield await containerd.start()


@pytest.fixture
async def kubelet(containerd: Containerd) -> AsyncIterator[Kubelet]:
    async with containerd.kubelet() as kubelet:
        await kubelet.until_network_ready()
        yield kubelet


@pytest.fixture
async def remains(daemon: Daemon) -> Remains:
    """What was there before the test did anything, to be compared with what is there when all is removed."""
    return await Remains.before(daemon)
