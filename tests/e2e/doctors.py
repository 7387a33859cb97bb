"""What `netplumb doctor` says on the node of a test."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netplumb.reconciler.doctor.checks import examine
from netplumb.reconciler.doctor.reading import read
from netplumb.reconciler.settings import configuration
from tests.e2e.daemons import COMMAND, Daemon

WITHIN_S = 30.0
OF_THE_MACHINE = ("clock", "disk", "descriptors", "inotify-full")
"""What is found of the machine that the tests run on, whatever the node in its namespace is like."""


@dataclass(frozen=True, slots=True)
class Said:
    findings: list[dict[str, str]]
    unread: list[str]

    def of(self, check: str) -> list[dict[str, str]]:
        return [it for it in self.findings if it["check"] == check]

    def one(self, check: str, *words: str) -> dict[str, str]:
        """The one finding of a check that has these words."""
        found = [it for it in self.of(check) if all(word in it["what"] for word in words)]
        assert len(found) == 1, self
        assert found[0]["why"]
        assert found[0]["heal"]
        return found[0]


def doctor(daemon: Daemon, *, skip: tuple[str, ...] = OF_THE_MACHINE, **flags: object) -> Said:
    """What it says on the node, with what the daemon was started with and these flags. In this process: a start of
    the command would take longer than all that it reads."""
    settings = {"data_dir": daemon.data_dir, "socket": daemon.socket} | flags
    with daemon.node.enter():
        facts = read(configuration.load(settings, daemon.config, {}).settings)
        return Said([finding.plain() for finding in examine(facts, skip)], list(facts.unread))


def said_by_command(daemon: Daemon, *words: str) -> tuple[int, Said]:
    """What the command says as JSON, and its exit status."""
    done = run(daemon, "doctor", *settings_of(daemon), "--output=json", *words)
    told = json.loads(done.stdout)
    return done.returncode, Said(told["findings"], told["unread"])


def settings_of(daemon: Daemon) -> list[str]:
    skipped = [f"--skip={name}" for name in OF_THE_MACHINE]
    return [f"--config={daemon.config}", f"--data-dir={daemon.data_dir}", f"--socket={daemon.socket}", *skipped]


def run(daemon: Daemon, *words: str, rights: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs the command `netplumb` on the node, with the rights of the daemon unless with less."""
    if rights:
        line = daemon.node.command(*rights, str(COMMAND), *words)
        done = subprocess.run(line, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    else:
        done = daemon.command(*words)
    assert done.returncode in (0, 1, 2), done
    assert "Traceback" not in done.stderr, done.stderr
    return done


def descriptors(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))
