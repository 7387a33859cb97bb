"""Podman's own tests of networking hold on netplumb, where nothing of them is about Podman's own plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemons import COMMAND, Daemon
from tests.e2e.hosts import Host
from tests.runtimes import podmansuite
from tests.runtimes.networks import installed
from tests.runtimes.podman import Podman

CANNOT_HOLD = {
    "podman network create": "a network has no subnet of its own: addresses come from netplumb's pools, and are /32",
    "podman run with slirp4ns assigns correct addresses to /etc/hosts": (
        "Podman takes the first address of all interfaces for the host's, and the loopback with those of the pools is "
        "first; they are the node's, so that the name leads to it all the same"
    ),
    "podman run CONTAINERS_CONF dns options": "there is no name server of the network's own, nor a domain dns.podman",
    "podman run CONTAINERS_CONF /etc/hosts options": (
        "it counts the lines of /etc/hosts: a container has an address of each family, and a line for each"
    ),
}
"""Tests that say what does not hold here, each with the reason."""


@pytest.fixture
def suite(daemon: Daemon, node: Host, directory: Path) -> Iterator[podmansuite.Suite]:
    podman = Podman(node, directory / "podman")
    with installed(daemon, "podman"):
        try:
            podmansuite.loaded(podman, directory)
            install = f"{COMMAND} cni install --socket={daemon.socket}"
            yield podmansuite.Suite(podman, directory / "suite", install)
        finally:
            podman.end()


def test_podmans_own_tests_hold(suite: podmansuite.Suite) -> None:
    """All of those that are run, which leaves out what Podman itself leaves out on such a machine."""
    found, said = suite.results()
    assert len(found) > 15, said
    failed = {name for name, verdict in found.items() if verdict == "not ok"}
    assert failed == set(CANNOT_HOLD), said
