"""The members of an etcd, one on each node of the stage, which may be killed and started again."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from netplumb.reconciler.sandbox.child import beside
from netplumb.reconciler.sandbox.stage import SandboxError, command

CLIENT_PORT, PEER_PORT = 2379, 2380
_UP_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0


@dataclass(slots=True)
class Member:
    """`entrance` are the words before a command on its node."""

    name: str
    address: str
    entrance: Sequence[str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{CLIENT_PORT}"

    @property
    def peer(self) -> str:
        return f"http://{self.address}:{PEER_PORT}"

    def start(self, members: Sequence[Member]) -> None:
        words = (
            *(*self.entrance, "etcd", f"--name={self.name}", f"--data-dir={self.directory / self.name}"),
            *(f"--listen-client-urls={self.endpoint}", f"--advertise-client-urls={self.endpoint}"),
            *(f"--listen-peer-urls={self.peer}", f"--initial-advertise-peer-urls={self.peer}"),
            f"--initial-cluster={','.join(f'{it.name}={it.peer}' for it in members)}",
            *("--heartbeat-interval=100", "--election-timeout=1000", "--logger=zap", "--log-level=warn"),
        )
        self.process = beside(words, self.directory / f"{self.name}.log")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(_STOP_WITHIN_S)
            self.process = None


class Etcd:
    """Leaves no process behind when the `with` block ends."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members

    def __enter__(self) -> Etcd:
        for member in self.members:
            member.start(self.members)
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()

    @property
    def endpoints(self) -> list[str]:
        return [it.endpoint for it in self.members]

    def leader(self, *, other_than: Member | None = None) -> Member:
        """The member that leads, once one does. Raises SandboxError when none does for long."""
        deadline = time.monotonic() + _UP_WITHIN_S
        while time.monotonic() < deadline:
            for member in self.members:
                if member.process is not None and member is not other_than and self._leads(member):
                    return member
            time.sleep(0.05)
        raise SandboxError(f"etcd has no leader within {_UP_WITHIN_S:.0f} s")

    def _leads(self, member: Member) -> bool:
        with suppress(SandboxError, ValueError, LookupError):
            words = ("env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={member.endpoint}", "--command-timeout=1s")
            (said,) = json.loads(command(*words, "endpoint", "status", "-w", "json"))
            return bool(said["Status"]["leader"] == said["Status"]["header"]["member_id"])
        return False
