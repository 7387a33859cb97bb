"""A real etcd of any number of members, which may be killed, stopped, restarted, and restored from a snapshot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from netplumb.models.clustersettings import ClusterSettings
from tests.e2e.hosts import Host

UP_WITHIN_S = 30.0
CLIENT_PORT, PEER_PORT = 2379, 2380


@dataclass(frozen=True, slots=True)
class Secured:
    """The files by which members and clients know each other."""

    ca: Path
    cert: Path
    key: Path


@dataclass(slots=True)
class Member:
    name: str
    place: Path
    address: str
    client_port: int
    peer_port: int
    host: Host | None = None
    secured: Secured | None = None
    flags: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        scheme = "https" if self.secured else "http"
        return f"{scheme}://{self.address}:{self.client_port}"

    @property
    def peer(self) -> str:
        return f"http://{self.address}:{self.peer_port}"

    def start(self, members: Sequence[Member]) -> None:
        cluster = ",".join(f"{it.name}={it.peer}" for it in members)
        words = ["etcd", f"--name={self.name}", f"--data-dir={self.place}", f"--initial-cluster={cluster}"]
        words += [f"--listen-client-urls={self.endpoint}", f"--advertise-client-urls={self.endpoint}"]
        words += [f"--listen-peer-urls={self.peer}", f"--initial-advertise-peer-urls={self.peer}"]
        words += ["--heartbeat-interval=50", "--election-timeout=500", "--logger=zap", "--log-level=warn"]
        words += ["--unsafe-no-fsync"] if b"unsafe-no-fsync" in _help() else []
        if (files := self.secured) is not None:
            words += [f"--trusted-ca-file={files.ca}", f"--cert-file={files.cert}", f"--key-file={files.key}"]
            words += ["--client-cert-auth"]
        words += self.flags
        with Path(f"{self.place}.log").open("ab") as log:
            command = self.host.command(*words) if self.host else words
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Its connections stay, and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def _help() -> bytes:
    return subprocess.run(["etcd", "--help"], capture_output=True, check=False).stdout


@dataclass(slots=True)
class Etcd:
    """`asked` are the members that are asked by hand; all, where none are named."""

    place: Path
    members: list[Member] = field(default_factory=list)
    secured: Secured | None = None
    console: Host | None = None
    asked: Sequence[Member] = ()

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(it.endpoint for it in self.members)

    def settings(self, **more: object) -> ClusterSettings:
        given: dict[str, object] = {"endpoints": self.endpoints, "silence_s": 2.0, "lease_s": 3.0, "reread_s": 60.0}
        return ClusterSettings.model_validate(given | more)

    def start(self) -> None:
        for member in self.members:
            member.start(self.members)
        self.wait()

    def wait(self) -> None:
        """Until the cluster agrees on something."""
        ends = time.monotonic() + UP_WITHIN_S
        while self.tried("get", "x").returncode != 0:
            if time.monotonic() > ends:
                logs = "\n".join(p.read_text()[-2000:] for p in sorted(self.place.glob("*.log")))
                raise AssertionError(f"etcd is not up after {UP_WITHIN_S} s:\n{logs}")
            time.sleep(0.05)

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def tried(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        flags = ["--dial-timeout=1s", "--command-timeout=2s"]
        if not any(word.startswith("--endpoints=") for word in words):
            flags.append(f"--endpoints={','.join(it.endpoint for it in self.asked or self.members)}")
        if (files := self.secured) is not None:
            flags += [f"--cacert={files.ca}", f"--cert={files.cert}", f"--key={files.key}"]
        command = ["etcdctl", *flags, *words]
        environ = {**os.environ, "ETCDCTL_API": "3"}
        line = self.console.command(*command) if self.console else command
        return subprocess.run(line, input=given, capture_output=True, text=True, env=environ, timeout=30, check=False)

    def ctl(self, *words: str, given: str = "") -> str:
        """A value that is not among the words of `put` is read from what is `given`."""
        done = self.tried(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key_names(self, prefix: str = "/netplumb/") -> list[str]:
        return self.ctl("get", "--prefix", "--keys-only", prefix).split()

    def leader(self) -> Member:
        for member in self.members:
            if member.process is not None:
                found = json.loads(self.ctl("endpoint", "status", "-w", "json", f"--endpoints={member.endpoint}"))
                if found[0]["Status"]["leader"] == found[0]["Status"]["header"]["member_id"]:
                    return member
        raise AssertionError("no leader")

    def revision(self) -> int:
        found = json.loads(self.tried("endpoint", "status", "-w", "json").stdout)
        return max(int(it["Status"]["header"]["revision"]) for it in found)

    def compact(self) -> None:
        self.ctl("compact", "--physical", str(self.revision()))

    def save(self) -> Path:
        """A snapshot, as operators take them."""
        file = self.place / f"snapshot-{time.monotonic_ns()}"
        self.ctl("snapshot", "save", str(file), f"--endpoints={self.members[0].endpoint}")
        return file

    def restore(self, snapshot: Path) -> None:
        """All members from an older snapshot, under the same names and addresses."""
        self.kill()
        cluster = ",".join(f"{it.name}={it.peer}" for it in self.members)
        for member in self.members:
            shutil.rmtree(member.place)
            words = ["snapshot", "restore", str(snapshot), f"--name={member.name}", f"--data-dir={member.place}"]
            words += [f"--initial-cluster={cluster}", f"--initial-advertise-peer-urls={member.peer}"]
            environ = {**os.environ, "ETCDCTL_API": "3"}
            subprocess.run(["etcdctl", *words], capture_output=True, env=environ, check=True)
        self.start()


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running(
    members: int = 1,
    *,
    seats: Sequence[tuple[Host, str]] = (),
    console: Host | None = None,
    secured: Secured | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Etcd]:
    """An etcd that is up: each member in a host of its own and at an address of that, or all on this one's loopback.
    What is asked of it by hand is asked from the console. `flags` are more of each member's."""
    with TemporaryDirectory(prefix="np-etcd-") as directory:
        place = Path(directory)
        if seats:
            made = [
                Member(f"m{it}", place / f"m{it}", address, CLIENT_PORT, PEER_PORT, host, secured)
                for it, (host, address) in enumerate(seats)
            ]
        else:
            ports = free_ports(2 * members)
            made = [
                Member(f"m{it}", place / f"m{it}", "127.0.0.1", ports[2 * it], ports[2 * it + 1], None, secured)
                for it in range(members)
            ]
        for member in made:
            member.flags = flags
        etcd = Etcd(place, made, secured, console)
        try:
            etcd.start()
            yield etcd
        finally:
            etcd.kill()
