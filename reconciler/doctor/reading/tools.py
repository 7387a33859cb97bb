"""Other tools of the node: which of them run, and the texts of their settings in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from netplumb.reconciler.doctor.facts import ToolFacts

_PROC = Path("/proc")
_SYSTEMD = ("/usr/lib/systemd", "/run/systemd", "/etc/systemd")
_UDEV = ("/usr/lib/udev", "/lib/udev", "/run/udev", "/etc/udev")
_SYSCTL = ("/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
_CNI = Path("/etc/cni/net.d")
_LEAVES_VETHS = 'ENV{ID_NET_DRIVER}=="veth"'


def read_tools() -> ToolFacts:
    nm = ("/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d")
    return ToolFacts(
        running=_running(),
        networkd=_files(["/etc/systemd/networkd.conf"], [f"{it}/networkd.conf.d" for it in _SYSTEMD], ".conf"),
        networks=_files([], [f"{it}/network" for it in _SYSTEMD], ".network"),
        links=_files([], [f"{it}/network" for it in _SYSTEMD], ".link"),
        network_manager=_files(["/etc/NetworkManager/NetworkManager.conf"], nm, ".conf"),
        udev_leaves_veths=any(
            _LEAVES_VETHS in text and "NM_UNMANAGED" in text
            for text in _files([], [f"{it}/rules.d" for it in _UDEV], ".rules").values()
        ),
        sysctls=_files([], _SYSCTL, ".conf") | _files(["/etc/sysctl.conf", "/etc/ufw/sysctl.conf"], [], ""),
        cni=tuple(sorted(it.name for it in _inside(_CNI) if it.suffix in (".conf", ".conflist", ".json"))),
    )


def _running() -> frozenset[str]:
    """Names of the processes that are in the node's network namespace."""
    own = Path("/proc/thread-self/ns/net").readlink()
    found = set()
    for directory in _PROC.iterdir():
        if directory.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile, or is not to be looked at
                if (directory / "ns/net").readlink() == own:
                    found.add((directory / "comm").read_text().strip())
    return frozenset(found)


def _files(first: Iterable[str], folders: Iterable[str], suffix: str) -> dict[str, str]:
    """Texts by path: those named, then those in the folders in the order of their names, whichever folder has them. One
    in a later folder stands for one of the same name in an earlier."""
    by_name: dict[str, Path] = {}
    for folder in folders:
        by_name |= {it.name: it for it in _inside(Path(folder)) if it.suffix == suffix}
    found: dict[str, str] = {}
    for path in [*map(Path, first), *(by_name[name] for name in sorted(by_name))]:
        with suppress(OSError):
            found[str(path)] = path.read_text(errors="replace")
    return found


def _inside(folder: Path) -> Iterable[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return ()
