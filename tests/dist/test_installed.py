"""The wheel as a user installs it: beside other projects, and with all that it is for."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dist.conftest import ROOT, Made
from tests.dist.environments import Environment

pytestmark = pytest.mark.timeout(900)  # with what is made before the first test

ENDED_WITHIN_S = 30.0

NEIGHBOUR = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "neighbour"
version = "1"
[tool.setuptools]
packages = ["api", "models"]
"""


@pytest.fixture(scope="module")
def installed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment where the wheel was installed into nothing, its dependencies as pip finds them."""
    environment = Environment.make(tmp_path_factory.mktemp("installed") / "environment")
    environment.pip("install", "--quiet", str(made.wheel))
    return environment


@pytest.fixture
def neighbour(tmp_path: Path) -> Path:
    """A project that has packages of the names that netplumb's folders have."""
    project = tmp_path / "neighbour"
    for package in ("api", "models"):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text(f"OWNER = 'neighbour {package}'\n")
    (project / "pyproject.toml").write_text(NEIGHBOUR)
    return project


def test_it_lives_beside_a_project_with_the_same_folders(installed: Environment, neighbour: Path) -> None:
    """Both are imported, each its own, and neither takes the other along when it goes."""
    both = (
        "import api, models, netplumb, netplumb.api, netplumb.models; print(api.OWNER, models.OWNER, sep=', ');"
        "assert api is not netplumb.api and models is not netplumb.models"
    )
    installed.pip("install", "--quiet", str(neighbour))
    assert installed.python(both) == "neighbour api, neighbour models\n"
    assert "--netns" in installed.run("attach", "--help")
    installed.pip("uninstall", "--quiet", "--yes", "neighbour")
    assert "daemon" in installed.run("--help")
    installed.python("from netplumb import AsyncClient, Client; import netplumb.reconciler.daemon")


@pytest.fixture
def sandbox(installed: Environment) -> Iterator[str]:
    """The socket of a daemon that plays in a sandbox, with the examples that came with the wheel."""
    words = ("unshare", "--net", "--mount", "--", installed.netplumb, "sandbox")
    with subprocess.Popen(words, cwd=installed.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as it:
        assert it.stdout is not None
        said = ""
        for line in it.stdout:
            said += line
            if "nft list table" in line:
                break
        socket = re.search(r"NETPLUMB_SOCKET=(\S+)", said)
        assert socket is not None, said
        yield socket[1]
        it.send_signal(signal.SIGINT)
        said += it.communicate(timeout=ENDED_WITHIN_S)[0]
        assert it.returncode == 0, said


def test_daemon_and_clients_work(installed: Environment, sandbox: str) -> None:
    """The command, the client and the asyncio client see what the daemon attached from the examples."""
    listed = installed.run("list", NETPLUMB_SOCKET=sandbox)
    assert re.search(r"^web-1 +eth0 +Attached", listed, re.MULTILINE), listed
    blocking = f"""
import netplumb
with netplumb.Client({sandbox!r}) as client:
    print(netplumb.__version__, *sorted(each.workload_id for each in client.list()))
"""
    awaiting = f"""
import asyncio, netplumb
async def main():
    async with netplumb.AsyncClient({sandbox!r}) as client:
        print((await client.get("web-1")).addresses[0])
asyncio.run(main())
"""
    version = installed.python("from importlib.metadata import version; print(version('netplumb'))").strip()
    assert installed.python(blocking).split() == [version, "web-1", "web-2"]
    assert installed.python(awaiting).strip() in listed


def test_types_reach_a_project_that_is_checked(installed: Environment, tmp_path: Path) -> None:
    """mypy, run elsewhere, finds the installed package typed."""
    script = tmp_path / "script.py"
    script.write_text("from netplumb import Client\nreveal_type(Client.detach)\n")
    mypy = (str(ROOT / ".venv/bin/mypy"), "--strict", f"--python-executable={installed.path}/bin/python", str(script))
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Any" not in done.stdout


def test_a_checkout_installs_by_pip(dependencies: Environment, checkout: Path, tmp_path: Path) -> None:
    """`pip install .` after the lock file, as the README has it, puts the wheel's files in place, and nothing that an
    earlier build of the checkout left behind."""
    environment = dependencies.copy(tmp_path / "environment")
    left_behind = checkout / "build" / "lib" / "api"
    left_behind.mkdir(parents=True)
    (left_behind / "__init__.py").touch()
    environment.pip("install", "--quiet", "--no-deps", str(checkout))
    environment.pip("check")
    assert "daemon" in environment.run("--help")
    own = environment.python("import netplumb.reconciler.sandbox.child as it; print(it.EXAMPLES / 'web.yaml')").strip()
    assert Path(own).is_relative_to(environment.packages)
    assert Path(own).is_file()
    assert not (environment.packages / "api").exists()


def test_a_checkout_installs_editable(dependencies: Environment, checkout: Path, tmp_path: Path) -> None:
    """`pip install -e .`: what is imported is the checkout's, under the one name."""
    environment = dependencies.copy(tmp_path / "environment")
    environment.pip("install", "--quiet", "--no-deps", "--editable", str(checkout))
    assert "daemon" in environment.run("--help")
    code = "import importlib.util as it; print(it.find_spec('models'), it.find_spec('netplumb.api').origin)"
    stranger, own = environment.python(code).split()
    assert stranger == "None"
    assert Path(own).resolve() == checkout / "api/__init__.py"
