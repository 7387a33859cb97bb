"""What the lock files hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[A-Za-z0-9._-]+")


def canonical(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {canonical(found[0]) for line in lines if line[:1].strip() and (found := NAME.match(line))}


def named(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = project["dependencies"] if not extra else project["optional-dependencies"][extra]
    return {canonical(found[0]) for word in words if (found := NAME.match(word))}


def test_what_runs_is_installed_without_what_tests() -> None:
    """Whoever installs netplumb gets what it needs and no tools; who develops gets both, of the same releases."""
    run, develop = locked("requirements.lock"), locked("requirements-dev.lock")
    assert named("") | named("ui") <= run < develop
    assert named("dev") <= develop
    assert not run & (named("dev") - named("") - named("ui"))

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")
