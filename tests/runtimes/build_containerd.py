"""Builds Debian's containerd with netplumb's Go package in the place of go-cni, and nothing else changed.

    python tests/runtimes/build_containerd.py

prints the path of the built `containerd` on its last line. `ctr`, built alike, lies beside it; the shims are those of
Debian's package. The first build takes a minute or two, and needs root to install Go and what containerd is built with.
After that the binaries are taken from ~/.cache/netplumb-tests (or below XDG_CACHE_HOME), for as long as the package and
this file are the same. What fails is told on stderr, and the exit code is 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DROP_IN = Path(__file__).resolve().parents[2] / "api" / "go" / "cniproxy"
REPLACED = "github.com/containerd/go-cni"
CONTAINERD = "github.com/containerd/containerd"
COMMANDS = ("containerd", "ctr")
TAGS = "no_btrfs no_zfs no_aufs no_devmapper seccomp"
DEBIAN_GOPATH = Path("/usr/share/gocode")

APT_SOURCES = Path("/etc/apt/sources.list")
APT_SOURCES_DIR = Path("/etc/apt/sources.list.d")


class BuildError(Exception):
    """What failed, for a person."""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it printed; its last words go into the error when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is not installed") from None
    if done.returncode != 0:
        raise BuildError(f"{' '.join(words)}\nexit code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netplumb-tests"


def content_key() -> str:
    """A name for what is built: a hash of the Go package's files, less its tests, and of this one."""
    compiled = (path for path in sorted(DROP_IN.rglob("*.go")) if not path.name.endswith("_test.go"))
    digest = hashlib.sha256()
    for path in (*compiled, Path(__file__).resolve()):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """One build at a time; the others wait, and find it done."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def with_sources(text: str) -> str:
    """An apt source list that names sources too, wherever it names packages."""
    text = re.sub(r"^Types:\s*deb\s*$", "Types: deb deb-src", text, flags=re.MULTILINE)
    return re.sub(r"^deb(\s.*)$", r"deb\1\ndeb-src\1", text, flags=re.MULTILINE)


class Apt:
    """apt-get that knows source packages, with lists of its own: those of the machine stay as they are."""

    def __init__(self, directory: Path) -> None:
        parts, lists = directory / "parts", directory / "lists"
        parts.mkdir()
        (lists / "partial").mkdir(parents=True)
        for path in (APT_SOURCES, *APT_SOURCES_DIR.glob("*.list"), *APT_SOURCES_DIR.glob("*.sources")):
            if path.exists():
                (parts / path.name).write_text(with_sources(path.read_text()))
        self._options = (
            "--quiet",
            "--yes",
            "--option=DPkg::Lock::Timeout=600",
            "--option=Dir::Etc::SourceList=/dev/null",
            f"--option=Dir::Etc::SourceParts={parts}",
            f"--option=Dir::State::Lists={lists}",
        )
        self("update")

    def __call__(self, *words: str, cwd: Path | None = None) -> None:
        run("apt-get", *self._options, *words, cwd=cwd, env={"DEBIAN_FRONTEND": "noninteractive"})


def unpack_source(directory: Path) -> Path:
    """Installs what containerd is built with, and unpacks its source package."""
    apt = Apt(directory)
    apt("install", "--no-install-recommends", "golang-go", "dpkg-dev")
    apt("build-dep", "--no-install-recommends", "containerd")
    # apt would download as a user that may not write here.
    apt("source", "--download-only", "--option=APT::Sandbox::User=root", "containerd", cwd=directory)
    (description,) = directory.glob("*.dsc")
    run("dpkg-source", "--extract", description, directory / "source")
    return directory / "source"


def build(target: Path) -> None:
    """Lays out a GOPATH before Debian's, with the package as go-cni, and builds the commands into the target."""
    with tempfile.TemporaryDirectory(prefix="netplumb-containerd-") as name:
        work = Path(name)
        packages = work / "go" / "src"
        source = packages / CONTAINERD
        source.parent.mkdir(parents=True)
        unpack_source(work).rename(source)
        shutil.copytree(DROP_IN, packages / REPLACED)
        env = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{work / 'go'}:{DEBIAN_GOPATH}"}
        used = run("go", "list", "-f", "{{.Dir}}", REPLACED, cwd=source, env=env).strip()
        if Path(used) != packages / REPLACED:
            raise BuildError(f"containerd would be built with {used}")
        built = work / "built"
        built.mkdir()
        for command in COMMANDS:
            run(
                "go",
                "build",
                "-trimpath",
                "-tags",
                TAGS,
                "-o",
                built / command,
                f"./cmd/{command}",
                cwd=source,
                env=env,
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied beside the target first: what has the target's name is whole.
        half = Path(tempfile.mkdtemp(dir=target.parent, prefix="half-"))
        shutil.copytree(built, half, dirs_exist_ok=True)
        half.rename(target)


def main() -> int:
    cache = cache_dir()
    target = cache / f"containerd-{content_key()}"
    try:
        with only_one(cache):
            if not target.exists():
                build(target)
        run(target / "containerd", "--version")
    except (BuildError, OSError) as error:
        print(f"containerd was not built: {error}", file=sys.stderr)
        return 1
    print(target / "containerd")
    return 0


if __name__ == "__main__":
    sys.exit(main())
