"""What is said in bytes that are no UTF-8, as a name in another encoding is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netplumb.api.unixsocket import listening


def netplumb(*words: bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "netplumb", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        b"attach w\xe4b --netns web",
        b"attach web --netns w\xe4b",
        b"attach web --netns web --label app=w\xe4b",
        b"get w\xe4b",
        b"policy explain w\xe4b db",
        b"list -l app=w\xe4b",
    ],
)
def test_an_argument_is_refused_in_one_line(tmp_path: Path, words: bytes) -> None:
    """It is named as Python shows it; a daemon is there, which is asked nothing of it."""
    made, published = listening(tmp_path / "net.sock", 0o600, None)
    with made:
        done = netplumb(*words.split(), f"--socket={tmp_path}/net.sock".encode())
    published.withdraw()
    line = done.stderr.splitlines()[-1]  # one before says that the daemon does not answer, where that takes long
    assert "w\\udce4b" in line
    assert "not UTF-8" in line
    assert done.returncode == 2


def test_a_list_of_the_living_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alive").write_bytes(b"c1\nc\xe4\n")
    done = netplumb(*b"gc --source rpc --dry-run --alive-file".split(), str(tmp_path / "alive").encode())
    assert "--alive-file: is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
