"""Each test runs in a network namespace of its own that plays the node; each test process has a /run of its own.

Without the rights for that the tests fail, they are not skipped. Only the test's own thread is in the namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import namespaces


@dataclass(frozen=True, slots=True)
class NodeNamespace:
    """The namespace that the test runs in, and the others that it makes, which go with it."""

    _made: ExitStack

    def netns(self, name: str) -> Path:
        """Makes a named namespace, and returns its path in /run/netns."""
        path = namespaces.create(name)
        self._made.callback(namespaces.remove, name)
        return path

    def in_netns(self, path: Path) -> AbstractContextManager[None]:
        """Within it, the test runs in the namespace at `path`."""
        return namespaces.enter(path)


@pytest.fixture(scope="session", autouse=True)
def own_run() -> None:
    """Puts this test process into a mount namespace of its own, with an empty /run."""
    namespaces.unshare_run()


@pytest.fixture(autouse=True)
def node(own_run: None) -> Iterator[NodeNamespace]:
    """Puts the test into a fresh network namespace with lo up, and takes it back afterwards."""
    with ExitStack() as made:
        node = NodeNamespace(made)
        made.enter_context(node.in_netns(node.netns("node")))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield node
