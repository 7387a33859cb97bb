"""Podman's own tests of networking, of the release that Debian has: where they come from, and how they are run.

They are bats files of Podman's source package. They make networks by `podman network create`, which writes the
configuration of Podman's own plugins; here a program in Podman's place has netplumb install the network instead. All
else is Podman.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from shutil import which

from tests.runtimes import image
from tests.runtimes.build_containerd import Apt, run
from tests.runtimes.podman import Podman

SUITE = "test/system/500-networking.bats"
IMAGE = "quay.io/libpod/testimage:20220615"
"""The image that the tests name. Here it is busybox, with what they use of it."""

WITHIN_S = 900.0
_LINE = re.compile(r"^(ok|not ok) \d+ (.*?)(?: # skip(.*))?$", re.MULTILINE)

_IN_PODMANS_PLACE = """\
#!/bin/sh
# Podman, but for `network create`; and what a test has for its settings is put into those that all need.
if [ "$CONTAINERS_CONF" != "{settings}" ]; then
    grep -v '^\\[containers\\]' "$CONTAINERS_CONF" >"{merged}.part"
    sed '/^\\[containers\\]/r {merged}.part' "{settings}" >"{merged}"
    export CONTAINERS_CONF="{merged}"
fi
case "$1 $2" in
"network create")
    for word in "$@"; do name=$word; done
    if [ -e "/etc/cni/net.d/10-$name.conflist" ]; then exec podman "$@"; fi
    {install} --network "$name" >/dev/null 2>&1 && echo "$name"
    ;;
run\\ *) shift; exec podman run --cgroup-parent={cgroup} "$@" ;;
"pod create") shift 2; exec podman pod create --cgroup-parent={cgroup} "$@" ;;
*) exec podman "$@" ;;
esac
"""
_FLUSH = re.compile(
    r"^    # rootless cannot modify iptables\n    if ! is_rootless; then\n.*?^    fi\n", re.MULTILINE | re.DOTALL
)
"""In one of the tests: rules of Podman's own plugin go, and its port with them. netplumb's are elsewhere, and where the
kernel can nobody else's to flush."""


def unpacked(directory: Path) -> Path:
    """The directory with the bats files, of the source package that belongs to the Podman which is installed."""
    apt = Apt(directory)
    apt("source", "--download-only", "--option=APT::Sandbox::User=root", "podman", cwd=directory)
    (description,) = directory.glob("*.dsc")
    run("dpkg-source", "--extract", description, directory / "source")
    return directory / "source" / Path(SUITE).parent


class Suite:
    """`install` is the command that installs a network on the node."""

    def __init__(self, podman: Podman, directory: Path, install: str) -> None:
        directory.mkdir()
        self._podman = podman
        self._tests = unpacked(directory)
        suite = self._tests / Path(SUITE).name
        text, flushes = _FLUSH.subn("", suite.read_text())
        assert flushes == 1
        suite.write_text(text)
        programs = directory / "bin"
        programs.mkdir()
        if which("nc") is None:
            (programs / "nc").symlink_to(image.BUSYBOX)
        self._program = programs / "podman-beside-netplumb"
        self._program.write_text(
            _IN_PODMANS_PLACE.format(
                install=install, cgroup=podman.cgroup, settings=podman.settings, merged=directory / "containers.conf"
            )
        )
        self._program.chmod(0o755)
        self._environment = {
            "PODMAN": str(self._program),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BATS_TMPDIR": str(directory),
            "TMPDIR": str(directory),
        }

    def results(self) -> tuple[dict[str, str], str]:
        """By the name of each test "ok", "not ok", or why it was left out; and all that was said."""
        done = self._podman.on_node(
            ("bats", "--tap", str(self._tests / Path(SUITE).name)), within_s=WITHIN_S, env=self._environment
        )
        found = {
            name.strip(): (skipped or "").strip() or verdict for verdict, name, skipped in _LINE.findall(done.stdout)
        }
        return found, f"{done.stdout}{done.stderr}"


def loaded(podman: Podman, directory: Path) -> None:
    """Gives Podman the image that the tests name."""
    applets = subprocess.run([image.BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = directory / "testimage.tar"
    image.write(
        archive,
        reference=IMAGE,
        config={"Cmd": ["/bin/echo", "a test"], "Env": ["PATH=/bin"], "WorkingDir": "/home/podman"},
        applets=[*(it for it in applets if it != "busybox"), "busybox-extras"],
        directories=("home", "home/podman", "var", "var/www"),
    )
    podman.run("load", "--input", str(archive))
