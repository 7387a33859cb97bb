"""What the wheel and the sdist bring."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.dist.conftest import ROOT, Made

pytestmark = pytest.mark.timeout(900)  # with what is made before the first test

OURS = ("api", "models", "reconciler", "config")


def contents(wheel: Path) -> dict[str, int]:
    """Each file with its checksum, save the list of the files."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if not info.filename.endswith("/RECORD")}


def top(names: set[str]) -> set[str]:
    return {PurePosixPath(name).parts[0] for name in names}


def test_the_wheel_brings_one_import_package(made: Made) -> None:
    """Nothing that another project could have too."""
    names = set(contents(made.wheel))
    version = made.wheel.name.split("-")[1]
    assert top(names) == {"netplumb", f"netplumb-{version}.dist-info"}


def test_the_sdist_brings_one_import_package(made: Made) -> None:
    """Below src, with the links resolved: they would lead out of it."""
    with tarfile.open(made.sdist) as archive:
        members = archive.getmembers()
    inner = {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in members}
    assert not top({name for name in inner if name != "."}) & set(OURS)
    assert {PurePosixPath(name).parts[1] for name in inner if name.startswith("src/")} == {
        "netplumb",
        "netplumb.egg-info",
    }
    assert not [member.name for member in members if member.issym()]


def test_the_wheel_holds_all_that_is_tracked_and_no_more(made: Made) -> None:
    """Each file of the four folders: code, stubs, the contract, the marker of types, the files of config; no Go."""
    tracked = subprocess.run(["git", "ls-files", *OURS, "src"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {
        str(PurePosixPath("netplumb", name.removeprefix("src/netplumb/")))
        for name in tracked.stdout.splitlines()
        if not name.startswith("api/go/") and not (ROOT / name).is_symlink()
    }
    packaged = {name for name in contents(made.wheel) if name.startswith("netplumb/")}
    assert packaged == expected
    assert {PurePosixPath(name).suffix for name in packaged} == {
        *(".py", ".pyi", ".proto", ".typed"),
        *(".yaml", ".json", ".service"),
        *(".css", ".html", ".js"),  # of the page that `netplumb map` makes
    }


def test_the_sdist_makes_the_same_wheel_as_the_checkout(made: Made, checkout: Path, tmp_path: Path) -> None:
    """`make dist` goes by the sdist; pip, from a checkout, does not."""
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    for source, place in ((str(made.sdist), "sdist"), (str(checkout), "checkout")):
        subprocess.run([*build, f"--wheel-dir={tmp_path / place}", source], cwd=tmp_path, check=True)
        (wheel,) = (tmp_path / place).glob("*.whl")
        assert contents(wheel) == contents(made.wheel), place


def test_the_readme_goes_with_the_wheel(made: Made) -> None:
    """Whoever finds the distribution in an index reads it there."""
    with zipfile.ZipFile(made.wheel) as archive:
        (described,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(described).decode()
    assert "\nDescription-Content-Type: text/markdown\n" in text
    assert text.endswith((ROOT / "README.md").read_text())


def test_the_package_brings_the_pages_that_its_readme_leads_to(made: Made) -> None:
    """They lie beside it, with the reasons that they name."""
    listed = subprocess.run(["dpkg-deb", "--contents", made.deb], capture_output=True, text=True, check=True)
    packaged = {line.split()[5].removeprefix("./opt/netplumb/") for line in listed.stdout.splitlines()}
    pages = set(re.findall(r"\]\((docs/[^)#]+\.md)\)", (ROOT / "README.md").read_text()))
    assert len(pages) > 10
    assert {"README.md", *pages} <= packaged
