"""PURE: which attachments are meant, by their labels, in the words of Kubernetes' label selectors.

A selector is a list of requirements, all of which have to hold: `app=web`, `app==web`, `app!=web`, `tier in (a, b)`,
`tier notin (a, b)`, `app`, `!app`. As there, `!=` and `notin` hold too where the label is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SELECTOR_MAX_CHARS = 4096

_WORD = r"[^\s,()=!]+"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*(?P<missing>{_WORD})"
    rf"|(?P<key>{_WORD})(?:\s*(?P<sign>==|!=|=)\s*(?P<value>(?:{_WORD})?)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()=!]*)\))?)\s*(?P<end>,|\Z)"
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Without `values` the label has to be there, whatever it says. `negated` turns it round."""

    key: str
    values: frozenset[str] | None = None
    negated: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        found = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return found != self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        return all(it.holds(labels) for it in self.requirements)


def selector(text: str) -> Selector:
    """What the text selects; an empty one selects all. Raises ValueError."""
    if len(text) > SELECTOR_MAX_CHARS:
        raise ValueError(f"is longer than {SELECTOR_MAX_CHARS} characters")
    if not text.strip():
        return Selector()
    found, start, more = [], 0, True
    while more:
        match = _REQUIREMENT.match(text, start)
        if match is None:
            raise ValueError(f"{text[start:].strip()!r} is not like app=web, app!=web, tier in (a, b), app or !app")
        found.append(_requirement(match))
        start, more = match.end(), match["end"] == ","
    return Selector(tuple(found))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["missing"]:
        return Requirement(match["missing"], negated=True)
    if match["sign"]:
        return Requirement(match["key"], frozenset({match["value"]}), negated=match["sign"] == "!=")
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], values, negated=match["set"] == "notin")
    return Requirement(match["key"])
