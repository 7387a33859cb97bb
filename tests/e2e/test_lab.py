"""The page about the lab is followed word by word: each command is run, and says what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.waiting import comes_true, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lab.md"
SAID_WITHIN_S = 20.0
COMMAND_WITHIN_S = 30.0
RATE_TOLERANCE = 0.2

_RATE = re.compile(r"([\d.]+) Mbits/sec")


@dataclass(frozen=True, slots=True)
class Command:
    line: str
    shown: tuple[str, ...]

    def is_said_by(self, output: str) -> bool:
        """Whether the lines that the page shows are among the output's, in this order."""
        lines = iter(output.splitlines())
        return all(any(_alike(shown, line) for line in lines) for shown in self.shown)


def _alike(shown: str, line: str) -> bool:
    """Spaces may be wider, `…` stands for anything, and a rate is one of about that size."""
    pieces = re.split(r"(…|\s+|[\d.]+ Mbits/sec)", shown)
    pattern = "".join(map(_pattern, pieces))
    if not (found := re.fullmatch(pattern, line.strip())):
        return False
    rates = [float(rate) for rate in _RATE.findall(shown)]
    return [float(rate) for rate in found.groups()] == [pytest.approx(rate, rel=RATE_TOLERANCE) for rate in rates]


def _pattern(piece: str) -> str:
    if piece == "…":
        return ".*?"
    if piece.isspace():
        return r"\s*"
    return _RATE.pattern if _RATE.fullmatch(piece) else re.escape(piece)


def blocks() -> list[list[Command]]:
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        found.append([Command(line, tuple(shown)) for line, *shown in (part.splitlines() for part in parts)])
    return found


class Lab:
    """The sandbox as the first block starts it, and a shell on its node."""

    def __init__(self, directory: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NETPLUMB_")}
        self._environment = environment | {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "TMPDIR": str(directory),  # mktemp and the sandbox itself
        }
        *prepare, start = (command.line for command in blocks()[0])
        script = "\n".join(["set -eu", *prepare, 'echo "$LAB"', f"exec {start}"])
        self.process = subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self._environment["LAB"] = self.process.stdout.readline().strip()
        told = ""
        for line in self.process.stdout:
            told += line
            if "nft list table" in line:
                break
        socket, entrance = re.search(r"NETPLUMB_SOCKET=(\S+)", told), re.search(r"nsenter .* --(?= )", told)
        assert socket is not None, told
        assert entrance is not None, told
        self._environment["NETPLUMB_SOCKET"] = socket[1]
        self._entrance = shlex.split(entrance[0])

    def run(self, line: str) -> str:
        done = subprocess.run(
            [*self._entrance, "bash", "-c", line],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}"
        return done.stdout

    def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=COMMAND_WITHIN_S)[0]


@pytest.fixture
def lab(directory: Path) -> Iterator[Lab]:
    lab = Lab(directory)
    try:
        yield lab
    finally:
        if lab.process.poll() is None:
            lab.end()


async def test_the_page_shows_what_happens(lab: Lab) -> None:
    """Every command of the page succeeds and prints what is shown below it, and at the end nothing is left."""
    for command in (command for block in blocks()[1:] for command in block):
        if not command.line.startswith("export "):  # what the sandbox printed, and the lab took from there
            await follow(lab, command)
    said = lab.end()
    assert lab.process.returncode == 0, said
    assert "the node is as it was" in said


async def follow(lab: Lab, command: Command) -> None:
    """Runs the command until it says what is shown, since a file that was edited is taken a moment later."""
    said = ""

    def matches() -> bool:
        nonlocal said
        said = lab.run(command.line)
        return command.is_said_by(said)

    # iperf3's server serves one client, so there is no second try.
    within_s = 0.0 if "iperf3 -c" in command.line else SAID_WITHIN_S
    assert await comes_true(matches, within_s=within_s), f"{command.line}: {said}"
    if "iperf3 -s" in command.line:
        listening = re.sub("iperf3 .*", "ss -Hltn 'sport = 5201'", command.line)
        await until(lambda: lab.run(listening), "iperf3 listens")
