"""A Debian system of its own: a root directory that mmdebstrap made, in mount, process and network namespaces.

Its packages come from where this machine's own Debian packages come from. No init system runs in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MADE_WITHIN_S = 300.0
DONE_WITHIN_S = 180.0
STOPPED_WITHIN_S = 10.0

# What the tests look around with. systemd is not started; it judges the unit.
INCLUDED = "iputils-ping,systemd,zsh,fish,bash-completion"

_KEEPER = """
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
ip link set lo up
exec chroot . sh -c "echo ready; exec sleep infinity"
"""


def sources(codename: str) -> list[str]:
    """The archive of this machine's own release, for another one; apt on this machine must know its own."""
    asked = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    targets = [line.split() for line in _done(asked).splitlines()]
    (own,) = (line for line in Path("/etc/os-release").read_text().splitlines() if line.startswith("VERSION_CODENAME="))
    archive = next(
        uri for uri, release, component in targets if f"VERSION_CODENAME={release}" == own and component == "main"
    )
    return [f"deb {archive} {codename} main"]


@dataclass(slots=True)
class Root:
    """One system. What runs in it has its network namespace, unless it is told to have the machine's, as apt needs."""

    path: Path
    keeper: int
    logs: Path
    _started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *words: str, ok: bool = True, on_machine_network: bool = False) -> str:
        return _done(self._entered(words, own_network=not on_machine_network), ok=ok)

    def shell(self, line: str) -> str:
        return self.run("sh", "-ec", line)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts what is ended by `stop`, or with the test."""
        with self._log(len(self._started)).open("w") as log:
            process = subprocess.Popen(self._entered(words, own_network=True), stdout=log, stderr=log, text=True)
        self._started.append(process)
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        return self._log(self._started.index(process)).read_text()

    def stop(self, process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
        """Ends what was started here, and returns what it had said. What runs is a child of nsenter's."""
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(child, number)
        process.wait(STOPPED_WITHIN_S)
        return self.said(process)

    def end_started(self) -> None:
        for process in self._started:
            if process.poll() is None:
                self.stop(process)

    def _log(self, index: int) -> Path:
        return self.logs / f"started-{index}.log"

    def install(self, deb: Path, *options: str) -> str:
        """As a user does: apt finds what the package depends on."""
        shutil.copy(deb, self.path / "root" / deb.name)
        return self.apt("install", *options, f"/root/{deb.name}", on_machine_network=True)

    def apt(self, *words: str, on_machine_network: bool = False) -> str:
        quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", "--quiet", "--yes")
        return self.run(*quiet, *words, on_machine_network=on_machine_network)

    def ip(self, line: str) -> list[dict[str, Any]]:
        said = self.run("ip", "-json", *line.split())
        return [each for each in json.loads(said or "[]") if each]

    def _entered(self, words: Sequence[str], *, own_network: bool) -> list[str]:
        net = ["--net"] if own_network else []
        return ["nsenter", f"--target={self.keeper}", "--mount", "--pid", *net, "--root", "--wd", "--", *words]


@contextmanager
def debian(codename: str, path: Path) -> Iterator[Root]:
    """A new system of that release."""
    path.chmod(0o755)  # apt reads packages as a user of its own
    make = ("mmdebstrap", "--quiet", "--variant=apt", f"--include={INCLUDED}", "--skip=cleanup/apt/lists", codename)
    _done((*make, str(path), *sources(codename)), within_s=MADE_WITHIN_S)
    shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
    words = (
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--fork",
        "--kill-child",
        "--",
        "sh",
        "-ec",
        _KEEPER,
        "keeper",
        str(path),
    )
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as unshare:
        assert unshare.stdout is not None
        try:
            assert unshare.stdout.readline() == "ready\n"
            keeper = int(Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text())
            yield Root(path, keeper, path / "tmp")
        finally:
            unshare.kill()
    shutil.rmtree(path)


def _done(words: Sequence[str], *, ok: bool = True, within_s: float = DONE_WITHIN_S) -> str:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert not ok or done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}:\n{done.stdout}"
    return done.stdout
