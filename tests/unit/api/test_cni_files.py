"""`netplumb cni install` and `uninstall`: what they write, what they take away, and what they leave alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from netplumb.api.cli.cni import register
from netplumb.api.cni import programs
from netplumb.api.cni.install import CAPABILITIES, InstallError, Places, install, uninstall

FOREIGN = "#!/bin/sh\necho mine\n"
DAEMON = Path("/run/netplumb/workloadnet.sock")
FIELD = (
    b"# Written by `netplumb cni install`; `netplumb cni uninstall` removes it.\n"
    b"SOCKET = /run/netplumb/workloadnet.sock.cni".ljust(192, b"\0")
)
COMPILED = b"\x7fELF\0before" + FIELD + b"after\0\xff"

Netplumb = Callable[..., Result]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "etc" / "net.d", tmp_path / "opt" / "bin")


@pytest.fixture(autouse=True)
def no_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this installation would have the compiled plugin, and has none."""
    place = tmp_path / "libexec"
    monkeypatch.setattr(programs, "COMPILED", place)
    return place


@pytest.fixture
def netplumb(places: Places) -> Netplumb:
    """The command, with the two directories given and an environment of its own."""
    app = typer.Typer()
    register(app)

    def run(*words: str, **environment: str) -> Result:
        directories = (f"--conf-dir={places.conf_dir}", f"--bin-dir={places.bin_dir}")
        return CliRunner().invoke(app, ["cni", *words, *directories], env={"NETPLUMB_SOCKET": None, **environment})

    return run


def conflist(path: Path) -> Any:
    return json.loads(path.read_text())


def socket_of(plugin: Path) -> str:
    (line,) = (line for line in plugin.read_text().splitlines() if line.startswith("SOCKET = "))
    return line.removeprefix("SOCKET = ").strip("'\"")


def tree(directory: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_install_writes_plugin_loopback_and_configuration(places: Places, netplumb: Netplumb) -> None:
    """And says which files. Plugins may be run by everyone, the configuration read."""
    done = netplumb("install")
    written = [places.plugin, places.loopback, places.conf_dir / "10-netplumb.conflist"]
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(path) for path in written]
    assert sorted(tree(places.bin_dir.parent.parent)) == sorted(map(str, written))
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o755, 0o755, 0o644]


def test_the_configuration_is_what_runtimes_take(places: Places, netplumb: Netplumb) -> None:
    """A list with our plugin, the capabilities that it has, and the versions from which a runtime chooses."""
    assert netplumb("install", "--network", "blue", "--pool", "v4-only").exit_code == 0
    found = conflist(places.conf_dir / "10-blue.conflist")
    assert (found["name"], found["cniVersion"]) == ("blue", "1.0.0")
    assert found["cniVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    (plugin,) = found["plugins"]
    assert plugin["type"] == places.plugin.name
    assert plugin["pool"] == "v4-only"
    assert plugin["capabilities"] == dict.fromkeys(CAPABILITIES, True)
    assert {"portMappings", "bandwidth", "dns", "ips", "mac"} <= set(CAPABILITIES)


def test_without_a_pool_none_is_named(places: Places) -> None:
    """The labels of a pod choose then."""
    install(places, "blue", "", DAEMON)
    assert "pool" not in conflist(places.conf_dir / "10-blue.conflist")["plugins"][0]


@pytest.mark.parametrize(
    ("words", "environment", "socket"),
    [
        ((), {}, "/run/netplumb/workloadnet.sock.cni"),
        (("--socket=/run/other.sock",), {}, "/run/other.sock.cni"),
        ((), {"NETPLUMB_SOCKET": "/run/other.sock"}, "/run/other.sock.cni"),
        (("--socket=/run/a.sock",), {"NETPLUMB_SOCKET": "/run/b.sock"}, "/run/a.sock.cni"),
    ],
)
def test_the_plugin_keeps_the_socket_that_it_was_installed_for(
    places: Places, netplumb: Netplumb, words: tuple[str, ...], environment: dict[str, str], socket: str
) -> None:
    """From the flag or NETPLUMB_SOCKET at that time; what the runtime's environment says later does not count."""
    assert netplumb("install", *words, **environment).exit_code == 0
    assert socket_of(places.plugin) == socket
    told = subprocess.run(
        [places.plugin],
        input=b"{}",
        capture_output=True,
        env={"CNI_COMMAND": "ADD", "NETPLUMB_SOCKET": "/run/c.sock"},
        timeout=30,
        check=False,
    )
    assert json.loads(told.stdout)["details"].startswith(socket)


def test_a_relative_socket_is_made_absolute(
    places: Places, netplumb: Netplumb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime starts the plugin elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert netplumb("install", "--socket", "net.sock").exit_code == 0
    assert socket_of(places.plugin) == f"{tmp_path}/net.sock.cni"


@pytest.mark.parametrize("name", ["it's.sock", 'a"b.sock', "back\\slash.sock", "\u00e9.sock"])
def test_a_socket_may_have_any_name(places: Places, name: str) -> None:
    """It is written as Python writes it."""
    install(places, "blue", "", Path("/run", name))
    told = subprocess.run(
        [places.plugin], input=b"{}", capture_output=True, env={"CNI_COMMAND": "ADD"}, timeout=30, check=False
    )
    assert json.loads(told.stdout)["details"].startswith(f"/run/{name}.cni")


def test_the_compiled_plugin_is_taken_where_there_is_one(
    places: Places, netplumb: Netplumb, no_compiled: Path, tmp_path: Path
) -> None:
    """That of the installation, or else the one that is named; and it is told which."""
    assert f"{places.plugin} is a script" in netplumb("install").stderr
    no_compiled.write_bytes(COMPILED)
    done = netplumb("install", "--socket=/run/other.sock")
    assert f"{places.plugin} is compiled, from {no_compiled}" in done.stderr
    written = places.plugin.read_bytes()
    assert len(written) == len(COMPILED)
    assert written == COMPILED.replace(b"/run/netplumb/workloadnet.sock.cni", b"/run/other.sock.cni".ljust(34, b"\0"))
    assert os.access(places.plugin, os.X_OK)
    (another := tmp_path / "another").write_bytes(COMPILED + b"!")
    assert netplumb("install", f"--plugin={another}").exit_code == 0
    assert places.plugin.read_bytes().endswith(b"!")
    assert netplumb("uninstall").exit_code == 0
    assert tree(places.bin_dir) == {}


@pytest.mark.parametrize("content", [b"\x7fELF", COMPILED + FIELD, b"SOCKET = /run/a"])
def test_what_has_no_place_for_the_socket_is_not_installed(places: Places, content: bytes, tmp_path: Path) -> None:
    """Nor what has two; nothing is written then."""
    (program := tmp_path / "program").write_bytes(content)
    with pytest.raises(InstallError, match="program is not"):
        install(places, "blue", "", DAEMON, compiled=program)
    assert not places.bin_dir.exists()


@pytest.mark.parametrize("as_compiled", [False, True])
def test_a_socket_that_no_plugin_could_ask_is_refused(places: Places, tmp_path: Path, as_compiled: bool) -> None:
    """A path that is one byte longer than that of a socket may be; the longest is taken."""
    (program := tmp_path / "program").write_bytes(COMPILED)
    compiled = program if as_compiled else None
    longest = Path("/run", "x" * (107 - len("/run/.cni")))
    install(places, "blue", "", longest, compiled=compiled)
    assert f"{longest}.cni".encode() in places.plugin.read_bytes()
    with pytest.raises(InstallError, match="108 bytes long"):
        install(places, "blue", "", longest.with_name(f"{longest.name}x"), compiled=compiled)


def test_a_second_install_changes_nothing(places: Places, netplumb: Netplumb) -> None:
    assert netplumb("install").exit_code == 0
    before = tree(places.bin_dir.parent.parent)
    assert netplumb("install").exit_code == 0
    assert tree(places.bin_dir.parent.parent) == before


def test_an_older_plugin_of_ours_is_replaced_in_one_step(places: Places) -> None:
    """A runtime that starts it in this moment gets the old one or the new one, and never a part."""
    install(places, "blue", "", Path("/run/a.sock"))
    with places.plugin.open("rb") as running:
        install(places, "blue", "", Path("/run/b.sock"))
        assert b"/run/a.sock" in running.read()
    assert socket_of(places.plugin) == "/run/b.sock.cni"
    assert [path.name for path in places.bin_dir.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["bin/netplumb-cni", "net.d/10-netplumb.conflist"])
def test_what_is_not_ours_is_not_replaced(places: Places, netplumb: Netplumb, tmp_path: Path, name: str) -> None:
    """Then nothing at all is written, and the file in the way is named."""
    directory = places.bin_dir if name.startswith("bin") else places.conf_dir
    foreign = directory / Path(name).name
    foreign.parent.mkdir(parents=True)
    foreign.write_text(FOREIGN)
    done = netplumb("install")
    assert done.exit_code == 1
    assert str(foreign) in done.stderr
    assert tree(tmp_path) == {str(foreign): FOREIGN}


def test_a_loopback_plugin_that_is_there_stays(places: Places, netplumb: Netplumb) -> None:
    """Only where it is missing is one written."""
    places.bin_dir.mkdir(parents=True)
    places.loopback.write_text(FOREIGN)
    done = netplumb("install")
    assert done.exit_code == 0
    assert str(places.loopback) not in done.stdout
    assert places.loopback.read_text() == FOREIGN
    assert netplumb("uninstall").exit_code == 0
    assert tree(places.bin_dir) == {str(places.loopback): FOREIGN}


def test_uninstall_removes_what_install_wrote(places: Places, netplumb: Netplumb, tmp_path: Path) -> None:
    """And says which files. The directories stay, and what others put there."""
    foreign = places.conf_dir / "20-other.conflist"
    foreign.parent.mkdir(parents=True)
    foreign.write_text('{"name": "other", "plugins": [{"type": "netplumb-cni"}]}')
    before = tree(tmp_path)
    assert netplumb("install").exit_code == 0
    done = netplumb("uninstall")
    assert done.exit_code == 0
    assert len(done.stdout.split()) == 3
    assert tree(tmp_path) == before


def test_uninstall_of_one_network_leaves_the_others(places: Places, netplumb: Netplumb) -> None:
    """The plugin stays for them, and goes with the last one."""
    for network in ("blue", "red"):
        assert netplumb("install", "--network", network).exit_code == 0
    assert netplumb("uninstall", "--network", "blue").exit_code == 0
    assert [path.name for path in places.conf_dir.iterdir()] == ["10-red.conflist"]
    assert places.plugin.exists()
    assert netplumb("uninstall", "--network", "red").exit_code == 0
    assert tree(places.conf_dir) == tree(places.bin_dir) == {}


def test_uninstall_of_all(places: Places, netplumb: Netplumb) -> None:
    for network in ("blue", "red"):
        assert netplumb("install", "--network", network).exit_code == 0
    assert netplumb("uninstall").exit_code == 0
    assert tree(places.conf_dir) == tree(places.bin_dir) == {}


def test_uninstall_where_nothing_is_succeeds(places: Places, netplumb: Netplumb) -> None:
    """Also where the directories are missing."""
    done = netplumb("uninstall")
    assert (done.exit_code, done.stdout) == (0, "Nothing of netplumb's is here.\n")
    assert uninstall(places) == []


def test_a_broken_configuration_of_others_is_not_ours(places: Places) -> None:
    """What cannot be read as JSON is left alone."""
    places.conf_dir.mkdir(parents=True)
    (places.conf_dir / "00-broken.conflist").write_bytes(b"\xff{")
    install(places, "blue", "", DAEMON)
    uninstall(places)
    assert [path.name for path in places.conf_dir.iterdir()] == ["00-broken.conflist"]


def test_a_configuration_before_ours_is_told(places: Places, netplumb: Netplumb) -> None:
    """containerd takes the first of the directory: whoever installs must know when that is not ours."""
    places.conf_dir.mkdir(parents=True)
    (places.conf_dir / "05-bridge.conf").write_text("{}")
    done = netplumb("install")
    assert done.exit_code == 0
    assert "05-bridge.conf" in done.stderr
    (places.conf_dir / "05-bridge.conf").rename(places.conf_dir / "99-bridge.conf")
    assert "bridge" not in netplumb("install").stderr


@pytest.mark.parametrize("network", ["", "a/b", "../up", "-x", "a b"])
def test_a_network_that_no_runtime_would_take_is_refused(places: Places, network: str) -> None:
    """Before anything is written."""
    with pytest.raises(InstallError, match="network"):
        install(places, network, "", DAEMON)
    assert not places.bin_dir.exists()


def test_a_directory_that_cannot_be_written_is_told(netplumb: Netplumb, places: Places) -> None:
    """In one line, with its path."""
    places.bin_dir.parent.mkdir(parents=True)
    places.bin_dir.write_text("a file")
    done = netplumb("install")
    assert done.exit_code == 1
    assert str(places.bin_dir) in done.stderr
    assert "Traceback" not in done.output


def test_the_plugin_outlives_the_environment(places: Places) -> None:
    """Its interpreter is the one that the virtual environment was made from."""
    install(places, "blue", "", DAEMON)
    python = places.plugin.read_text().splitlines()[0][2:].split()[0]
    asked = "import sys; print(sys.prefix == sys.base_prefix)"
    assert subprocess.run([python, "-IS", "-c", asked], capture_output=True, check=True).stdout == b"True\n"
    assert os.access(python, os.X_OK)
