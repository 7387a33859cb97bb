"""The directories whose paths runtimes have built in, replaced by empty ones that only this test process sees."""

from __future__ import annotations

from pathlib import Path

from tests import namespaces

CONF_DIR = Path("/etc/cni/net.d")
BIN_DIR = Path("/opt/cni/bin")
RESULTS_DIR = Path("/var/lib/cni")
"""Where libcni, a part of every runtime, keeps what each plugin answered."""

LOCKS_DIR = Path("/dev/shm")
"""Where Podman keeps the locks of its containers."""


def make_own() -> None:
    """Covers them, in the mount namespace that the test process has for itself."""
    for place in (BIN_DIR.parents[1], CONF_DIR.parent, RESULTS_DIR, LOCKS_DIR):
        place.mkdir(parents=True, exist_ok=True)
        namespaces.mount("tmpfs", place, "tmpfs", 0)
    CONF_DIR.mkdir()
    BIN_DIR.mkdir(parents=True)


def unmount_below(directory: Path) -> None:
    """Takes away what runtimes mounted and, when they were killed, left mounted."""
    mounted = [Path(line.split()[4]) for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]
    for place in reversed(mounted):
        if directory in place.parents:
            namespaces.unmount(place)


def remove_namespaces(pattern: str) -> None:
    """Removes the network namespaces that a runtime made and named."""
    for path in namespaces.NETNS_DIR.glob(pattern):
        namespaces.remove(path.name)
