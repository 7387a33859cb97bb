"""PURE: settings files of systemd's and NetworkManager's kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def sections(text: str) -> Mapping[str, list[tuple[str, str]]]:
    """The lines by section, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;" and "=" in line:
            name, _, value = line.partition("=")
            found.setdefault(section, []).append((name.strip(), value.strip()))
    return found


def last_value(texts: Iterable[str], section: str, name: str) -> str:
    """What the last of the files says; empty where none does."""
    value = ""
    for text in texts:
        for each, told in sections(text).get(section, ()):
            if each == name:
                value = told
    return value
