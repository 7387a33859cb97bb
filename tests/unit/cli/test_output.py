"""Standard output that takes no more of what a command prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUFFERED: dict[str, str] = {}
AT_ONCE = {"PYTHONUNBUFFERED": "1"}


def netplumb(*words: str, stdout: int, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "netplumb", *words]
    environ = {name: it for name, it in os.environ.items() if name != "PYTHONUNBUFFERED"} | environ
    return subprocess.run(line, stdout=stdout, stderr=subprocess.PIPE, env=environ, text=True, check=False)


@pytest.mark.parametrize("environ", [BUFFERED, AT_ONCE], ids=["buffered", "at once"])
@pytest.mark.parametrize("words", ["schema attachment", "config show", "list -h", "--version"])
def test_a_full_disk_is_told_in_one_line(words: str, environ: dict[str, str]) -> None:
    """And is a failure, since the answer did not come: of plain text, of a table, and of a help page."""
    with Path("/dev/full").open("wb") as full:
        done = netplumb(*words.split(), stdout=full.fileno(), environ=environ)
    assert done.stderr == "netplumb: the answer cannot be written: No space left on device (ENOSPC)\n"
    assert done.returncode == 1


@pytest.mark.parametrize("environ", [BUFFERED, AT_ONCE], ids=["buffered", "at once"])
def test_a_reader_that_has_left_is_told_nothing(environ: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = netplumb("--version", stdout=writer, environ=environ)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
