"""An environment that packages are installed into, and what runs in it: by its own Python, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

INSTALLED_WITHIN_S = 300.0
DONE_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Environment:
        _run(Path.cwd(), (sys.executable, "-m", "venv", str(path)))
        return cls(path)

    def copy(self, path: Path) -> Environment:
        """Another one with the same packages. Their commands would start the first one's Python, and are left out."""
        shutil.copytree(self.path, path, symlinks=True)
        for command in (path / "bin").iterdir():
            if not command.name.startswith("python"):
                command.unlink()
        return Environment(path)

    @property
    def netplumb(self) -> str:
        return str(self.path / "bin" / "netplumb")

    @property
    def packages(self) -> Path:
        """Where packages are installed."""
        (found,) = (self.path / "lib").glob("python3*/site-packages")
        return found

    def pip(self, *words: str) -> str:
        return _run(self.path, (str(self.path / "bin" / "python"), "-m", "pip", *words), within_s=INSTALLED_WITHIN_S)

    def python(self, code: str) -> str:
        return _run(self.path, (str(self.path / "bin" / "python"), "-c", code))

    def run(self, *words: str, **variables: str) -> str:
        """Runs the command `netplumb`."""
        return _run(self.path, (self.netplumb, *words), variables)


def _run(
    directory: Path,
    words: Sequence[str],
    variables: Mapping[str, str] = MappingProxyType({}),
    within_s: float = DONE_WITHIN_S,
) -> str:
    environment = os.environ | variables
    done = subprocess.run(
        words, cwd=directory, env=environment, capture_output=True, text=True, timeout=within_s, check=False
    )
    assert done.returncode == 0, f"{words}: exit {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
