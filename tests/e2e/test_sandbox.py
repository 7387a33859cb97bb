"""The sandbox proves what it says, fails where it must, and leaves nothing behind.

Each test plays on a machine of its own: network and mount namespaces that are looked at before and after.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NETPLUMB = str(Path(sys.executable).with_name("netplumb"))
TIMEOUT_S = 60.0

ROOTLESS = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--")
AS_IT_IS: tuple[str, ...] = ()


class Machine:
    """Network and mount namespaces, and a directory for temporary files; the daemon's command line names the latter."""

    def __init__(self, keeper: int, temporary: Path) -> None:
        self._keeper = keeper
        self._temporary = temporary

    def start(self, *words: str, rights: tuple[str, ...] = AS_IT_IS) -> subprocess.Popen[str]:
        return subprocess.Popen(
            (*self._entrance, *rights, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": str(self._temporary)},
        )

    def run(self, *words: str, rights: tuple[str, ...] = AS_IT_IS) -> tuple[int, str]:
        with self.start(*words, rights=rights) as process:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output

    def state(self) -> dict[str, list[str]]:
        """All that could be left behind here."""
        return {
            "links": self._look("ip", "-oneline", "link"),
            "addresses": self._look("ip", "-oneline", "address"),
            "routes": self._look("ip", "route", "show", "table", "all"),
            "rules": self._look("nft", "list", "ruleset"),
            "mounts": self._look("cat", "/proc/self/mounts"),
            "namespaces": self._look("find", "/run/netns", "-maxdepth", "1"),
            "files": sorted(str(path) for path in self._temporary.iterdir()),
            "processes": self._processes(),
        }

    @property
    def _entrance(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self._keeper}", "--net", "--mount", f"--wdns={Path.cwd()}", "--")

    def _look(self, *words: str) -> list[str]:
        looked = subprocess.run((*self._entrance, *words), capture_output=True, text=True, check=False)
        return sorted(looked.stdout.splitlines())

    def _processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(self._temporary) in words:
                found.append(words)
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    keep = "ip link set lo up; echo ready; exec sleep infinity"
    words = ("unshare", "--net", "--mount", "--", "sh", "-ec", keep)
    with (
        tempfile.TemporaryDirectory(prefix="np-") as temporary,  # short, as the path of a socket must be
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as keeper,
    ):
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n"
        yield Machine(keeper.pid, Path(temporary))
        keeper.kill()


def until_said(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines up to one with the words in it."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"it ended before it said {words!r}: {''.join(lines)}")


def assert_left_nothing(machine: Machine, before: dict[str, list[str]]) -> None:
    """The kernel takes namespaces down on its own time, a few milliseconds after the last process."""
    deadline = time.monotonic() + 5
    while (after := machine.state()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after == before


@pytest.mark.parametrize("rights", [AS_IT_IS, ROOTLESS], ids=["as it is", "rootless"])
def test_the_demo_proves_what_it_says(machine: Machine, rights: tuple[str, ...]) -> None:
    """Without a terminal it exits 0 after the proof: attached, reached, broken and repaired, and nothing stays."""
    before = machine.state()
    code, output = machine.run(NETPLUMB, "sandbox", "--demo", rights=rights)
    assert code == 0, output

    proved = [line.removeprefix("  ok  ") for line in output.splitlines() if line.startswith("  ok  ")]
    assert any(line.startswith("declared workloads are attached  web-1/eth0, web-2/eth0") for line in proved)
    assert any(line.startswith("guest-1 is attached over gRPC") for line in proved)
    for source in ("web-1", "web-2", "guest-1"):
        assert len([line for line in proved if line.startswith(f"ping {source} -> ")]) == 8  # 2 x (2 near, 2 outside)
        assert any(line.startswith(f"ping {source} -> outside 2001:db8::2, masqueraded") for line in proved)
    repairs = [line for line in proved if re.match(r"repaired  back (after|within) \d+\.\d ms", line)]
    assert len(repairs) == 3, output
    assert proved[-1] == "netplumb is purged, and the node is as it was"
    assert_left_nothing(machine, before)


def test_a_proof_that_fails_exits_1(machine: Machine, tmp_path: Path) -> None:
    """A workload whose namespace nobody makes is never attached; the demo says so, and still leaves nothing."""
    declared = "kind: Attachment\nworkload_id: nobody\nnetns: {path: /run/netns/nobody}\n"
    (tmp_path / "nobody.yaml").write_text(declared)
    before = machine.state()
    code, output = machine.run(NETPLUMB, "sandbox", "--demo", "--state-files", str(tmp_path))
    assert code == 1, output
    told = output.split("What failed\n")[1]
    assert "declared workloads are attached" in told
    assert "nobody/eth0 is Pending" in told
    assert_left_nothing(machine, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_stop(machine: Machine, number: signal.Signals) -> None:
    """Without --demo it stays up, can be reached over the socket that it names, and exits 0 when it is stopped."""
    before = machine.state()
    with machine.start(NETPLUMB, "sandbox") as process:
        said = "".join(until_said(process, "nft list table"))
        socket = re.search(r"NETPLUMB_SOCKET=(\S+)", said)
        assert socket is not None
        assert machine.run(NETPLUMB, "attach", "guest-1", "--netns", "guest-1", "--socket", socket[1])[0] == 0
        process.send_signal(number)
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, said + output
    assert_left_nothing(machine, before)


def test_what_it_says_to_try_works(machine: Machine) -> None:
    """Each command that it prints, but for those that stay, does what it is for: the daemon's by its socket, those that
    read settings by its file."""
    with machine.start(NETPLUMB, "sandbox") as process:
        said = "".join(until_said(process, "own_table is false"))
        socket = re.search(r"NETPLUMB_SOCKET=(\S+)", said)
        assert socket is not None
        told: dict[str, str] = {}
        for line in said.splitlines():
            if (found := re.match(r"  (?:nsenter .* -- )?(?:/\S*/)?(\w+(?: \w+)?)", line)) and "watch" not in line:
                name = found[1]
                if name.split()[0] not in ("netplumb", "ip", "nft"):
                    continue
                code, told[name] = machine.run("env", f"NETPLUMB_SOCKET={socket[1]}", *line.split())
                assert code in ((0, 1) if "doctor" in name else (0,)), told[name]
        assert told.keys() == {
            *("netplumb list", "netplumb attach", "ip route", "netplumb doctor", "netplumb trace", "nft list")
        }
        assert "daemon" not in told["netplumb doctor"]
        assert "arrives" in told["netplumb trace"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)


def test_interrupted_in_the_middle_it_leaves_nothing(machine: Machine) -> None:
    """Ctrl-C before the proof is complete ends it in order, and the exit code does not claim a proof."""
    before = machine.state()
    with machine.start(NETPLUMB, "sandbox", "--demo") as process:
        until_said(process, "guest-1 is attached")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, output
    assert_left_nothing(machine, before)


def test_killed_it_leaves_no_process(machine: Machine) -> None:
    """Even SIGKILL takes the daemon along, and with it every namespace and interface."""
    before = machine.state()
    with machine.start(NETPLUMB, "sandbox") as process:
        until_said(process, "nft list table")
        process.kill()
    assert_left_nothing(machine, before | {"files": machine.state()["files"]})
