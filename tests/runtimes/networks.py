"""netplumb as a CNI plugin for a runtime, installed as its user would."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemons import Daemon


def install(daemon: Daemon, *, conf_dir: Path, bin_dir: Path, network: str = "netplumb", pool: str = "") -> None:
    """Writes the plugin and a network's conflist; the network's pods come from the pool, or from any without one."""
    for directory in (conf_dir, bin_dir):
        directory.mkdir(parents=True, exist_ok=True)
    words = ["--network", network, "--conf-dir", str(conf_dir), "--bin-dir", str(bin_dir)]
    words += ["--socket", str(daemon.socket), *(("--pool", pool) if pool else ())]
    done = daemon.command("cni", "install", *words)
    assert done.returncode == 0, done.stderr
