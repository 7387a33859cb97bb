"""A Podman of our own: its storage, settings and networks below one directory, its network that of the node."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.hosts import Host
from tests.runtimes import image, places, processes

PAGE = Path(__file__).parents[2] / "docs" / "runtimes.md"
COMMAND_WITHIN_S = 60.0

_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
"""

_SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
cgroupns = "host"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
static_dir = "{directory}/storage/libpod"
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/storage/volumes"

{network}"""


def told_settings() -> str:
    """What the page about runtimes tells to set, in its own words."""
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


class Podman:
    def __init__(self, node: Host, directory: Path) -> None:
        self._cgroup = directory.parent.name
        self.cgroup = f"/{self._cgroup}"
        self._node = node
        self._directory = directory
        directory.mkdir()
        self.settings = self._write("containers.conf", _SETTINGS)
        self._environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": self._write("storage.conf", _STORAGE),
            "CONTAINERS_CONF": self.settings,
        }

    def _write(self, name: str, text: str) -> str:
        path = self._directory / name
        path.write_text(text.format(directory=self._directory, network=told_settings()))
        return str(path)

    def load_image(self) -> None:
        archive = self._directory / "image.tar"
        image.write(archive)
        self.run("load", "--input", str(archive))

    def start(self, name: str, *words: str) -> str:
        """Runs a container from the image in the background, and returns its id."""
        return self.run(
            "run", "--detach", f"--name={name}", f"--cgroup-parent=/{self._cgroup}", *words, image.REFERENCE
        )

    def run(self, *words: str) -> str:
        done = self.attempt(*words)
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs podman on the node, come what may."""
        line = self._node.command("podman", *words)
        return subprocess.run(
            line, capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False, env=self._environment
        )

    def on_node(
        self, words: Sequence[str], *, within_s: float, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Runs another program that uses this Podman, come what may."""
        line, environment = self._node.command(*words), {**self._environment, **env}
        return subprocess.run(line, capture_output=True, text=True, timeout=within_s, check=False, env=environment)

    def end(self) -> None:
        """Removes all that it runs; what is left is killed."""
        try:
            print(self.attempt("rm", "--force", "--all", "--time=0").stderr)
        finally:
            processes.end_all(self._directory, self._cgroup)
            places.unmount_below(self._directory)
            places.remove_namespaces("netns-*")
