"""The compiled CNI plugin beside the script: whatever a runtime or a daemon says, both do the same, byte by byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from netplumb.api.cni.install import Places, install
from tests.e2e.daemons import ROOT, Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Container, Done, Json, Runtime, installed
from tests.unit.api.played import CONFIG, hanging, played, run

BUILT_WITHIN_S = 600
SOURCE = ROOT / "api" / "go" / "plugin"
GO = {"CGO_ENABLED": "0", "GO111MODULE": "on", "GOFLAGS": ""}

TAKEN = b'0 8\n{"a": 1}'
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "PLUG")
CONFIGS = (
    *(b"", b"{", b"[]", b"null", b"7", b"\xff", b'"cniVersion"', b'{"cniVersion": "0.3.1"} {}'),
    *(b'{"cniVersion": 7}', b'{"cniVersion": null}', b'{"CNIVERSION": "0.3.1"}', b'{"cniVersion": ""}'),
    *(b'{"cniVersion": "0.3.1", "cniVersion": "1.0.0"}', b'{"a": [1, {}], "cniVersion": "<9&> \\"\\\\"}'),
    '{"cniVersion": "é\u2602"}'.encode(),
)
ANSWERS = (
    *(b"", b"0 ", b"0 3\n{}", b"0 1\n{}", b"what\n", b"0 x\n", b"\n", b"0 0 0\n", b"0\n", b" 0  2 \n{}", b"3 2\n{}"),
    *(b"0 0\n", b"1 8\n" + b'{"a": 1}', b"0 1000000\n" + b"x" * 1_000_000, TAKEN),
)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as it is built for a package."""
    return built(SOURCE.parents[2], tmp_path_factory.mktemp("built") / "netplumb-cni")


def built(checkout: Path, program: Path) -> Path:
    words = [str(checkout / "scripts" / "build-plugin"), str(program)]
    subprocess.run(words, check=True, timeout=BUILT_WITHIN_S)
    return program


@dataclass(frozen=True, slots=True)
class Both:
    """The script and the compiled plugin, for the same daemon."""

    socket: Path
    script: Path
    compiled: Path

    def alike(self, of: Callable[[Path], object]) -> None:
        assert of(self.compiled) == of(self.script)


@pytest.fixture
def socket_path(directory: Path) -> Path:
    return directory / "net.sock"


@pytest.fixture
def both(socket_path: Path, compiled: Path) -> Both:
    return Both(socket_path, *(plugin(socket_path, it) for it in (None, compiled)))


def plugin(socket: Path, compiled: Path | None) -> Path:
    directory = socket.parent / ("compiled" if compiled else "script")
    places = Places(directory / "conf", directory / "bin")
    install(places, "cluster", "", socket, compiled=compiled)
    return places.plugin


def ended(done: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


def test_it_is_formatted_vetted_and_needs_nothing(compiled: Path) -> None:
    """gofmt and go vet find nothing; no library has to be on the node."""
    for words in (("gofmt", "-l", "."), ("go", "vet", ".")):
        done = subprocess.run(words, cwd=SOURCE, env=os.environ | GO, capture_output=True, check=False)
        assert ended(done) == (0, b"", b"")
    assert b"INTERP" not in subprocess.run(["readelf", "-l", compiled], capture_output=True, check=True).stdout


def test_the_same_source_makes_the_same_program(compiled: Path, tmp_path: Path) -> None:
    """Whatever the checkout is called."""
    checkout = tmp_path / "elsewhere"
    for part in ("scripts", "api"):
        (checkout / part).mkdir(parents=True)
    (checkout / "scripts" / "build-plugin").write_bytes((ROOT / "scripts" / "build-plugin").read_bytes())
    (checkout / "scripts" / "build-plugin").chmod(0o755)
    copy(SOURCE, checkout / "api" / "go" / "plugin")
    assert built(checkout, tmp_path / "again").read_bytes() == compiled.read_bytes()


def copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_daemon(both: Both, command: str, config: bytes) -> None:
    """Each command, with whatever configuration."""
    both.alike(lambda plugin: ended(run(plugin, command, config)))


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_daemon_answers(both: Both, answer: bytes) -> None:
    """The answer, or that there was none; and what the daemon heard."""

    def outcome(plugin: Path) -> object:
        with played(both.socket, answer) as heard:
            done = run(plugin, "ADD", CONFIG + b" \xff\0\n", CNI_ARGS="A=1;B=é", CNI_EMPTY="", XCNI_="x", CNI="y")
        Path(f"{both.socket}.cni").unlink()
        return ended(done), heard

    both.alike(outcome)


@pytest.mark.parametrize("answer", [TAKEN, b""])
def test_a_daemon_that_does_not_hear_out(both: Both, answer: bytes) -> None:
    """Its answer counts; and where it has none, that is told."""

    def outcome(plugin: Path) -> object:
        with played(both.socket, answer, hears_out=False):
            done = run(plugin, "ADD", CONFIG + b" " * 8_000_000)
        Path(f"{both.socket}.cni").unlink()
        return ended(done)

    both.alike(outcome)


@pytest.mark.parametrize("command", ["ADD", "STATUS"])
@pytest.mark.parametrize("there", ["file", "dead"])
def test_what_is_no_daemon(both: Both, command: str, there: str) -> None:
    """A socket that nobody listens on, and what is no socket."""
    place = Path(f"{both.socket}.cni")
    if there == "file":
        place.touch()
    else:
        with hanging(both.socket, full=False):
            pass
    both.alike(lambda plugin: ended(run(plugin, command)))


def test_an_input_that_cannot_be_read(both: Both) -> None:
    def outcome(plugin: Path) -> object:
        words = ["sh", "-c", '"$0" 0>/dev/null', str(plugin)]
        environment = {"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]}
        return ended(subprocess.run(words, capture_output=True, env=environment, timeout=30, check=False))

    both.alike(outcome)


@pytest.mark.parametrize("full", [False, True])
def test_a_daemon_that_hangs(both: Both, tmp_path: Path, full: bool) -> None:
    """Both wait no longer than they may: here a second."""
    within = "ANSWER_WITHIN_S = 120\n"
    both.script.write_text(both.script.read_text().replace(within, within.replace("120", "1")))
    source = tmp_path / "api" / "go" / "plugin"
    copy(SOURCE, source)
    daemon = (source / "daemon.go").read_text()
    assert "answerWithinS = 120\n" in daemon
    (source / "daemon.go").write_text(daemon.replace("answerWithinS = 120\n", "answerWithinS = 1\n"))
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    hasty = Both(both.socket, both.script, plugin(both.socket, built(tmp_path, tmp_path / "hasty")))
    with hanging(both.socket, full=full):
        hasty.alike(lambda plugin: ended(run(plugin, "ADD")))


@pytest.fixture
def runtimes(daemon: Daemon, node: Host, compiled: Path) -> tuple[Runtime, Runtime]:
    """One by the compiled plugin, one by the script."""
    return tuple(Runtime(node, installed(daemon, compiled=it)) for it in (compiled, None))  # type: ignore[return-value]


async def test_with_the_daemon(runtimes: tuple[Runtime, Runtime], web: Host) -> None:
    """A container's life: what one attached, the other finds, and is told in the same words."""

    def both(call: Callable[[Container], Done]) -> Done:
        found, expected = (call(it.container("c1", web)) for it in runtimes)
        assert found == expected
        return found

    ports: Json = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    result = both(lambda it: it.add(runtimeConfig=ports)).result()
    both(lambda it: it.check(result, runtimeConfig=ports)).succeeded()
    both(lambda it: it.add(ipam={"type": "host-local"})).error()
    both(lambda it: it.add("0.1.0")).error()
    both(lambda it: it.call("PLUG", {})).error()
    both(lambda it: it.call("ADD", b"{")).error()
    both(lambda it: it.runtime.status()).succeeded()
    both(lambda it: it.runtime.gc(it)).succeeded()
    both(lambda it: it.delete()).succeeded()
    assert "eth0" not in web.links()
    told = both(lambda it: it.check(result)).error()
    assert told["code"] == 3


async def test_the_command_takes_it(daemon: Daemon, node: Host, web: Host, compiled: Path, tmp_path: Path) -> None:
    """It tells which plugin it installed, and that one attaches."""
    flags = (f"--conf-dir={tmp_path / 'conf'}", f"--bin-dir={tmp_path / 'bin'}", f"--socket={daemon.socket}")
    done = daemon.command("cni", "install", f"--plugin={compiled}", *flags)
    assert done.returncode == 0, done.stderr
    assert f"is compiled, from {compiled}" in done.stderr
    runtime = Runtime(node, tmp_path / "bin")
    runtime.container("c1", web).add().result()
    assert "eth0" in web.links()
    assert daemon.command("cni", "uninstall", *flags[:2]).returncode == 0
    assert list((tmp_path / "bin").iterdir()) == []
