"""A step is one difference between desired and observed, to be made: planning says it, applying does it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

from netplumb.models.kernel import KernelObject, Link
from netplumb.models.words import ip_words


class Verb(Enum):
    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Step:
    """One difference to be made. `observed` is what the kernel holds in the object's place, None for an addition."""

    verb: Verb
    thing: KernelObject
    observed: KernelObject | None = None

    def __str__(self) -> str:
        if self.verb is Verb.CHANGE and self.observed is not None:
            return f"{self.verb.value} {self.thing} (was {self.was})"
        return f"{self.verb.value} {self.thing}"

    @property
    def was(self) -> str:
        """Of a change, what the kernel holds of what is to be changed."""
        return self._changed_of(self.observed)

    @property
    def becomes(self) -> str:
        """Of a change, what is to be there instead."""
        return self._changed_of(self.thing)

    def _changed_of(self, one: KernelObject | None) -> str:
        assert self.observed is not None
        changed = [
            f"{f.name} {_words(one, f.name)}"
            for f in fields(self.observed)
            if f.compare
            and getattr(self.thing, f.name) is not None
            and getattr(self.thing, f.name) != getattr(self.observed, f.name)
        ]
        return ", ".join(changed) or "the same"


def _words(thing: KernelObject | None, field: str) -> str:
    value = getattr(thing, field)
    if isinstance(thing, Link) and field == "master":
        return thing.master_words
    if isinstance(value, bytes):
        return ip_words(value) if len(value) in (4, 16) else value.hex(":")
    if isinstance(value, tuple):
        return f"{len(value)} entries"
    return repr(value) if isinstance(value, str) else str(value)
