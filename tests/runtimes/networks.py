"""netplumb as a CNI plugin for runtimes, installed as its user would: where they look by themselves. The plugin is the
compiled one, as Debian's package has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.daemons import Daemon
from tests.runtimes import places

_PODMANS_LOCK = "cni.lock"


@contextmanager
def installed(daemon: Daemon, *networks: str) -> Iterator[None]:
    """The plugin, and networks by name, or the one that has netplumb's without any."""
    try:
        for network in networks or ("",):
            flags = (*(("--network", network) if network else ()), "--socket", str(daemon.socket))
            told = _cni(daemon, "install", *flags)
            assert "is compiled" in told, told
        yield
    finally:
        _cni(daemon, "uninstall")
    left = {path.name for place in (places.CONF_DIR, places.BIN_DIR) for path in place.iterdir()} - {_PODMANS_LOCK}
    assert not left, "uninstall leaves nothing of ours"


def _cni(daemon: Daemon, *words: str) -> str:
    """What is to be known beside the answer."""
    done = daemon.command("cni", *words)
    assert done.returncode == 0, done.stderr
    return done.stderr
