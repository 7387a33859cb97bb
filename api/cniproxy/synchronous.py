"""The calls of go-cni for code without an event loop: those of `AsyncCNI`, made in a thread that has one.

Their words are those of `asynchronous`, less `async` and `await`, which a test holds.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from netplumb.api.client.background import InBackground
from netplumb.api.cniproxy.asynchronous import DEFAULT_PREFIX, AsyncCNI, Config, Labels
from netplumb.api.cniproxy.words import Capabilities, Network, Result
from netplumb.api.defaults import DEFAULT_TIMEOUT_S


class CNI:
    """The calls of go-cni, in a `with` block: one connection, from any thread, by several at a time. After a
    fork it serves the process that opened it alone.

    Args:
        networks: what the interfaces of a workload are connected to, in their order; one with the daemon's defaults
            without any.
        socket_path: the daemon's socket; without one that of the variable NETPLUMB_SOCKET, else
            /run/netplumb/workloadnet.sock.
        prefix: of the interfaces' names in the workload, which are numbered from 0 on.
        timeout_s: how many seconds each call may take, waiting for a daemon that restarts included; `math.inf` waits
            without end.

    Raises:
        ValueError: where `timeout_s` is negative or no number.
        RuntimeError: from a call outside of the block, where the block is entered again within it, and from a call in
            another process, after a fork.
        ClientError: from the block, where the path is longer than a socket's may be (107 bytes).

    Example:
        with CNI() as cni:
            cni.setup("3f1e9a", "/run/netns/web")
            cni.check("3f1e9a")
            cni.remove("3f1e9a")
    """

    def __init__(
        self,
        *networks: Network,
        socket_path: Path | str | None = None,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._cni = AsyncCNI(*networks, socket_path=socket_path, prefix=prefix, timeout_s=timeout_s)
        self._opened = InBackground(self._cni, "netplumb-cniproxy")

    def __enter__(self) -> Self:
        self._opened.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def load(self, *networks: Network) -> None:
        """Replaces the networks. Interfaces that were set up stay as they are.

        Args:
            networks: as the constructor takes them.
        """
        self._cni.load(*networks)

    def get_config(self) -> Config:
        """The daemon's socket, and the networks that are loaded, by the interfaces that they are. Asks nobody."""
        return self._cni.get_config()

    def status(self, timeout_s: float = 1.0) -> None:
        """Returns when networks can be set up.

        Args:
            timeout_s: how many seconds the daemon may take to answer.

        Raises:
            NotInitialized: no daemon answers, it has no pools, or the node's own network is not set up yet.
        """
        self._opened.run(self._cni.status(timeout_s))

    def setup(
        self, container_id: str, path: str, *, labels: Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives a namespace its interfaces, all at the same time, and returns when the kernel holds them. The same
        again changes nothing.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace.
            labels: what the runtime knows of it; K8S_POD_UID names the workload, whose addresses outlive the container.
            capabilities: ports, limits, DNS and the like, by the names of CNI's conventions.

        Returns:
            What the workload was given.

        Raises:
            NotInitialized: no daemon answers, or it has no pools.
            InvalidArgument, FailedPrecondition, AlreadyExists, ResourceExhausted, Aborted, DeadlineExceeded: as
                `netplumb.Client.attach`. What was set up before one of them failed stays; `remove` takes it away.

        Example:
            limits = Bandwidth(ingress_rate=100_000_000, egress_rate=20_000_000)  # bits per second
            result = cni.setup("3f1e9a", "/run/netns/web", capabilities={"bandwidth": limits})
            print(result.interfaces["eth0"].mac, *(config.ip for config in result.interfaces["eth0"].ip_configs))
        """
        return self._opened.run(self._cni.setup(container_id, path, labels=labels, capabilities=capabilities))

    def setup_serially(
        self, container_id: str, path: str, *, labels: Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives a namespace its interfaces as `setup` does, but one after the other, in the order of the networks.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace.
            labels: what the runtime knows of it; K8S_POD_UID names the workload, whose addresses outlive the container.
            capabilities: ports, limits, DNS and the like, by the names of CNI's conventions.

        Returns:
            What the workload was given.

        Raises:
            NotInitialized: no daemon answers, or it has no pools.
            InvalidArgument, FailedPrecondition, AlreadyExists, ResourceExhausted, Aborted, DeadlineExceeded: as
                `netplumb.Client.attach`. Those behind the one that failed were not tried.
        """
        return self._opened.run(self._cni.setup_serially(container_id, path, labels=labels, capabilities=capabilities))

    def remove(self, container_id: str, path: str = "", *, labels: Labels | None = None) -> None:
        """Takes the interfaces away, and returns when they are gone from the kernel. What is gone already is no error.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace; empty where that is gone.
            labels: as at `setup`, where K8S_POD_UID names the workload.

        Raises:
            NotInitialized: no daemon answers.
            DeadlineExceeded: the kernel has not let go of one yet. The others are gone.

        Example:
            cni.remove("3f1e9a")
        """
        self._opened.run(self._cni.remove(container_id, path, labels=labels))

    def check(self, container_id: str, path: str = "", *, labels: Labels | None = None) -> None:
        """Reads the kernel, and returns when all interfaces are as they were set up.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace; carried for go-cni's sake.
            labels: as at `setup`, where K8S_POD_UID names the workload.

        Raises:
            NotInSync: the first interface that is not as it was set up; `differences` says how.
            NotFound: there is none, or it is another container's.
            NotInitialized: no daemon answers.
        """
        self._opened.run(self._cni.check(container_id, path, labels=labels))
