"""What `make dist` makes, once for all tests, and an environment that holds what running netplumb needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dist.environments import Environment

ROOT = Path(__file__).parents[2]
MADE_WITHIN_S = 600.0

# A package that is installed once, on the machine that made it, need not be small.
QUICKLY = {"DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}


@dataclass(frozen=True, slots=True)
class Made:
    wheel: Path
    sdist: Path
    deb: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        ["make", "dist", f"DIST={place}"],
        cwd=ROOT,
        env=os.environ | QUICKLY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MADE_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (wheel,), (sdist,), (deb,) = (place.glob(f"netplumb{end}") for end in ("-*.whl", "-*.tar.gz", "_*.deb"))
    return Made(wheel, sdist, deb)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, without what earlier builds left there."""
    copy = tmp_path_factory.mktemp("checkout") / "netplumb"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (file := ROOT / name).is_symlink() or file.exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the lock file for running names, and nothing else."""
    environment = Environment.make(tmp_path_factory.mktemp("dependencies") / "environment")
    environment.pip("install", "--quiet", "--require-hashes", "--requirement", str(ROOT / "requirements.lock"))
    return environment
