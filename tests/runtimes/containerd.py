"""A containerd of our own: its files below one directory, its network that of the node."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import grpc

from tests.e2e.hosts import Host
from tests.runtimes import image, places, processes
from tests.runtimes.cri import runtime_pb2 as cri
from tests.runtimes.kubelet import Kubelet

READY_WITHIN_S = 30.0
COMMAND_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
LOG_TAIL_LINES = 40

_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


class Containerd:
    """One containerd. `binary` may be one that was rebuilt; `environment` is what it gets beside the test's own."""

    def __init__(
        self, node: Host, directory: Path, *, binary: str = "containerd", environment: Mapping[str, str] | None = None
    ) -> None:
        self.socket = directory / "containerd.sock"
        self.cgroup = directory.parent.name
        self._node = node
        self._directory = directory
        self._binary = binary
        self._environment = {**os.environ, **(environment or {})}
        self._log = directory / "containerd.log"
        self._config = directory / "config.toml"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        self._config.write_text(_CONFIG.format(directory=directory, socket=self.socket, image=image.REFERENCE))

    def kubelet(self) -> Kubelet:
        return Kubelet(self.socket, self.cgroup)

    async def start(self) -> Self:
        """Starts it, gives it the image, and waits until it can run pods but for their network."""
        self._spawn()
        async with self.kubelet() as kubelet:
            await self._until_it_answers(kubelet)
            await self._load_image(kubelet)
        return self

    def _spawn(self) -> None:
        words = self._node.command(self._binary, "--config", str(self._config))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    async def _until_it_answers(self, kubelet: Kubelet) -> None:
        assert self._process is not None
        ends = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                await kubelet.runtime.Version(cri.VersionRequest(), timeout=1.0)
            except grpc.aio.AioRpcError:
                assert self._process.poll() is None, f"containerd ended:\n{self.logged()}"
                assert time.monotonic() < ends, f"containerd does not answer:\n{self.logged()}"
                await asyncio.sleep(0.05)
            else:
                return

    async def _load_image(self, kubelet: Kubelet) -> None:
        archive = self._directory / "image.tar"
        image.write(archive)
        self.ctr("-n", "k8s.io", "images", "import", "--snapshotter", "native", str(archive))
        wanted = cri.ImageStatusRequest(image=cri.ImageSpec(image=image.REFERENCE))
        ends = time.monotonic() + READY_WITHIN_S
        # It hears of the import through an event, and would try to pull before that.
        while not (await kubelet.images.ImageStatus(wanted)).HasField("image"):
            assert time.monotonic() < ends, f"containerd does not know the image:\n{self.logged()}"
            await asyncio.sleep(0.05)

    def ctr(self, *words: str) -> str:
        """Runs containerd's own client on the node, and returns what it printed."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False
        )
        assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def command(self, *words: str) -> list[str]:
        return self._node.command("ctr", "--address", str(self.socket), *words)

    def logged(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def kill9(self) -> None:
        """Ends it without giving it a chance to clean up; what it runs runs on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_WITHIN_S)

    def end(self) -> None:
        """Ends it, and all that it started; what it logged is shown for a failed test."""
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                self._process.wait(STOP_WITHIN_S)
        finally:
            processes.end_all(self._directory, self.cgroup)
            places.unmount_below(self._directory)
            places.remove_namespaces("cni-*")
            print(*self.logged().splitlines()[-LOG_TAIL_LINES:], sep="\n")
