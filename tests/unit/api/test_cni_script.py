"""The plugin as a program, against a daemon that a test plays: what it needs, what it hands over, what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netplumb.api.cni.install import Places, install
from netplumb.api.cni.spec import SUPPORTED
from tests.unit.api.played import CONFIG, hanging, played, run

CHEAP = {"_socket", "posix", "__main__"}
"""What it may load beside what Python itself does."""


@pytest.fixture
def places(socket_path: Path) -> Places:
    """The plugin is installed for the daemon at `socket_path`."""
    directory = socket_path.parent
    places = Places(directory / "conf", directory / "bin")
    install(places, "cluster", "", socket_path)
    return places


def error(done: subprocess.CompletedProcess[bytes]) -> Any:
    """The error object of a failure, which is all that was printed."""
    assert done.returncode == 1
    assert done.stderr == b""
    return json.loads(done.stdout)


def test_it_starts_as_python_isolated_and_without_site(places: Places) -> None:
    """Its first line: no environment variables, no site packages, nothing of the directory that it lies in."""
    first = places.plugin.read_text().splitlines()[0]
    assert first.startswith("#!/")
    assert first.endswith(" -IS")
    assert Path(first[2:].split()[0]).resolve() == Path(sys.executable).resolve()
    assert os.access(places.plugin, os.X_OK)


def test_it_loads_next_to_nothing(places: Places, socket_path: Path) -> None:
    """Each module more is time for every pod: no json, no socket, no os; gRPC would cost ten times Python's start."""
    python = places.plugin.read_text().splitlines()[0][2:].split()[0]
    tell = "import sys; before = set(sys.modules); sys.argv = ['x']; import posix; end = posix._exit; "
    tell += "posix._exit = lambda status: (posix.write(2, ' '.join(set(sys.modules) - before).encode()), end(status)); "
    tell += f"exec(compile(open({str(places.plugin)!r}).read(), 'x', 'exec'))"
    with played(socket_path, b"0 2\n{}"):
        done = subprocess.run(
            [python, "-I", "-S", "-c", tell],
            input=CONFIG,
            capture_output=True,
            env={"CNI_COMMAND": "ADD"},
            timeout=30,
            check=False,
        )
    assert done.stdout == b"{}", done.stderr
    assert set(done.stderr.decode().split()) <= CHEAP


def test_it_hands_over_environment_and_input_as_they_are(places: Places, socket_path: Path) -> None:
    """What CNI has of the environment, and not one variable more."""
    config = CONFIG + b" \xff\0\n"
    with played(socket_path, b"0 0\n") as heard:
        done = run(places.plugin, "DEL", config, CNI_ARGS="A=1;B=2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    head, _, rest = heard[0].partition(b"\n")
    magic, version, variables, size = head.split()
    assert (magic, version, int(size)) == (b"netplumb-cni", b"1", len(config))
    assert rest[int(variables) :] == config
    assert set(rest[: int(variables)].split(b"\0")) == {b"CNI_COMMAND=DEL", b"CNI_IFNAME=eth0", b"CNI_ARGS=A=1;B=2"}


@pytest.mark.parametrize(("answer", "status"), [(b'0 8\n{"a": 1}', 0), (b'1 8\n{"a": 1}', 1)])
def test_it_prints_the_answer_and_exits_as_told(places: Places, socket_path: Path, answer: bytes, status: int) -> None:
    with played(socket_path, answer):
        done = run(places.plugin, "ADD")
    assert (done.returncode, done.stdout, done.stderr) == (status, b'{"a": 1}', b"")


def test_a_large_answer_is_printed_whole(places: Places, socket_path: Path) -> None:
    """Larger than a pipe takes at once."""
    body = b"x" * 1_000_000
    with played(socket_path, b"0 %d\n%s" % (len(body), body)):
        assert run(places.plugin, "ADD").stdout == body


def test_an_answer_before_the_whole_request_counts(places: Places, socket_path: Path) -> None:
    """A daemon that refuses a huge request does not read it, and closes."""
    with played(socket_path, b'1 8\n{"a": 1}', hears_out=False):
        done = run(places.plugin, "ADD", CONFIG + b" " * 8_000_000)
    assert (done.returncode, done.stdout, done.stderr) == (1, b'{"a": 1}', b"")


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_without_a_daemon_it_says_so(places: Places, command: str, code: int) -> None:
    """Error 11: try again later; STATUS has one of its own. In the version in use, and naming the socket."""
    told = error(run(places.plugin, command))
    assert (told["cniVersion"], told["code"]) == ("0.4.0", code)
    assert ".sock.cni" in told["details"]


@pytest.mark.parametrize("answer", [b"", b"0 ", b"0 3\n{}", b"0 1\n{}", b"what\n", b"0 x\n", b"\n", b"0 0 0\n"])
def test_a_broken_answer_is_no_answer(places: Places, socket_path: Path, answer: bytes) -> None:
    """A daemon that dies while it answers has not answered: half a result must not pass for one."""
    with played(socket_path, answer):
        assert error(run(places.plugin, "ADD"))["code"] == 11


@pytest.mark.parametrize("full", [False, True])
def test_a_daemon_that_hangs_is_not_waited_for_without_end(places: Places, socket_path: Path, full: bool) -> None:
    """Error 11 after a while, as if it were away, also where so many wait that it cannot be asked; here the while is
    made short."""
    text = places.plugin.read_text()
    assert "ANSWER_WITHIN_S = 120\n" in text
    places.plugin.write_text(text.replace("ANSWER_WITHIN_S = 120\n", "ANSWER_WITHIN_S = 1\n"))
    with hanging(socket_path, full=full):
        told = error(run(places.plugin, "ADD"))
    assert (told["code"], told["details"]) == (11, f"{socket_path}.cni: nothing came of it within 1 s")


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b'{"cniVersion": 7}'])
def test_it_says_so_whatever_the_configuration(places: Places, config: bytes) -> None:
    """Without a version to speak, it speaks its latest."""
    told = error(run(places.plugin, "ADD", config))
    assert (told["cniVersion"], told["code"]) == (SUPPORTED[-1], 11)


@pytest.mark.parametrize(
    ("config", "version"), [(b'{"cniVersion": "0.3.1"}', "0.3.1"), (b"", "1.1.0"), (b"nonsense", "1.1.0")]
)
def test_version_needs_no_daemon(places: Places, config: bytes, version: str) -> None:
    """VERSION answers the version that it was asked in, and all that are supported."""
    done = run(places.plugin, "VERSION", config)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {"cniVersion": version, "supportedVersions": list(SUPPORTED)}


def test_an_input_that_cannot_be_read_is_code_5(places: Places) -> None:
    """Error 5: I/O failure."""
    done = subprocess.run(
        ["sh", "-c", '"$0" 0>/dev/null', places.plugin],
        capture_output=True,
        env={"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]},
        timeout=30,
        check=False,
    )
    assert error(done)["code"] == 5
