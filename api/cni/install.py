"""Puts the plugin where runtimes look for it, with a network configuration that uses it, and takes both away again.

What is netplumb's is read from the files themselves. A file that does not say so is neither replaced nor removed.
Files are made whole beside their place and then renamed, as a runtime may read them at any moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from netplumb.api.cni import programs
from netplumb.api.cni.programs import LOOPBACK, PLUGIN, ProgramError
from netplumb.api.cni.spec import SUPPORTED
from netplumb.api.cni.wire import socket_path

CAPABILITIES = ("portMappings", "bandwidth", "dns", "ips", "mac", "io.kubernetes.cri.pod-annotations")
CONFIGURED_VERSION = "1.0.0"
"""For runtimes that know no more than this; who knows `cniVersions` chooses the latest."""

_MADE_BY = {"madeBy": "netplumb cni install"}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")


class InstallError(Exception):
    """Nothing was written; the message says why."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a runtime looks for configurations, and where for plugins."""

    conf_dir: Path
    bin_dir: Path

    @property
    def plugin(self) -> Path:
        return self.bin_dir / PLUGIN

    @property
    def loopback(self) -> Path:
        return self.bin_dir / LOOPBACK

    def conflist(self, network: str) -> Path:
        return self.conf_dir / f"10-{network}.conflist"

    def our_conflists(self) -> Iterator[Path]:
        return (path for path in sorted(self.conf_dir.glob("*.conflist")) if _is_our_conflist(path))


def install(
    places: Places, network: str, pool: str, daemon_socket: Path, *, compiled: Path | None = None
) -> list[Path]:
    """Writes plugin, configuration and, where there is none, the loopback plugin. Returns the files in this order. The
    plugin is the `compiled` one, a script for Python without.

    Raises InstallError, and OSError for what the system refuses.
    """
    if not _NAME.fullmatch(network):
        raise InstallError(f"network {network!r} must be letters, digits, dots, dashes and underscores")
    conflist = places.conflist(network)
    for path, is_ours in ((places.plugin, programs.is_ours), (conflist, _is_our_conflist)):
        if path.exists() and not is_ours(path):
            raise InstallError(f"{path} is not netplumb's; it is left alone")
    asked = socket_path(daemon_socket.absolute())
    try:
        plugin = programs.script(asked) if compiled is None else programs.compiled(compiled, asked)
        loopback = programs.loopback_script()
    except ProgramError as error:
        raise InstallError(str(error)) from None
    for directory in (places.bin_dir, places.conf_dir):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    _write(places.plugin, plugin, mode=0o755)
    written = [places.plugin]
    if not places.loopback.exists() or programs.is_ours(places.loopback):
        _write(places.loopback, loopback, mode=0o755)
        written.append(places.loopback)
    # Last, since with it a runtime takes the network for usable.
    _write(conflist, (json.dumps(_configuration(network, pool), indent=2) + "\n").encode(), mode=0o644)
    return [*written, conflist]


def uninstall(places: Places, network: str = "") -> list[Path]:
    """Removes the configuration of one network, or of all that are netplumb's, and with the last one the plugins."""
    conflists = list(places.our_conflists())
    doomed = [path for path in conflists if not network or path == places.conflist(network)]
    if len(doomed) == len(conflists):
        doomed += (path for path in (places.plugin, places.loopback) if path.exists() and programs.is_ours(path))
    for path in doomed:
        path.unlink(missing_ok=True)
    return doomed


def chosen_before(places: Places, conflist: Path) -> Path | None:
    """The configuration that a runtime which uses only the first one would use instead of ours."""
    others = (path for path in places.conf_dir.iterdir() if path.suffix in (".conf", ".conflist", ".json"))
    first = min(others, key=lambda path: path.name)
    return None if first == conflist else first


def _configuration(network: str, pool: str) -> Mapping[str, Any]:
    return {
        **_MADE_BY,
        "cniVersion": CONFIGURED_VERSION,
        "cniVersions": SUPPORTED,
        "name": network,
        "plugins": [
            {
                "type": PLUGIN,
                **({"pool": pool} if pool else {}),
                "capabilities": dict.fromkeys(CAPABILITIES, True),
            }
        ],
    }


def _write(path: Path, content: bytes, *, mode: int) -> None:
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as made:
        place = Path(made.name)
        try:
            made.write(content)
            made.flush()
            place.chmod(mode)
            place.rename(path)
        except BaseException:
            place.unlink()
            raise


def _is_our_conflist(path: Path) -> bool:
    with suppress(ValueError):
        found = json.loads(path.read_bytes())
        return isinstance(found, dict) and found.items() >= _MADE_BY.items()
    return False
