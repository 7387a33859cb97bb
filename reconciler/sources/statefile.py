"""PURE: the text of one state file → the wishes that it declares, or every mistake in it.

A file is taken whole or not at all: half of a file is not what its writer meant.
"""

from __future__ import annotations

from pydantic import ValidationError

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.models.statefile import AttachmentDocument
from netplumb.reconciler.settings import documents
from netplumb.reconciler.settings.documents import Mistake, shown
from netplumb.reconciler.settings.mistakes import wrongs

_TOLD = 20
"""Mistakes in one message; a file of thousands is wrong in one way a thousand times."""


class StateFileError(NetplumbError):
    """The file is refused; `lines` holds every mistake as `file:line: reason`, in the order of the file."""

    def __init__(self, lines: list[str]) -> None:
        told = lines[:_TOLD] + ([f"and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else [])
        super().__init__("; ".join(told))
        self.lines = lines


def parse(name: str, content: bytes) -> tuple[AttachmentSpec, ...]:
    """What the file declares, in its order. Raises StateFileError, and nothing else, whatever the content is."""
    reading = documents.read(content)
    mistakes = reading.mistakes
    specs: dict[AttachmentKey, AttachmentSpec] = {}
    lines: dict[AttachmentKey, int] = {}
    for document in reading.documents:
        if len(mistakes) >= documents.MAX_MISTAKES:
            break
        try:
            spec = AttachmentDocument.model_validate(document.data).spec
        except ValidationError as error:
            found = wrongs(error, AttachmentDocument, document.data)
            mistakes += [Mistake(document.line_of(wrong.path), str(wrong)) for wrong in found]
            continue
        if spec.key in specs:
            first = lines[spec.key]
            mistakes.append(Mistake(document.line, f"{shown(str(spec.key))} is declared twice, first in line {first}"))
        specs[spec.key] = spec
        lines[spec.key] = document.line
    if mistakes:
        mistakes.sort(key=lambda mistake: mistake.line)
        raise StateFileError([mistake.located(name) for mistake in mistakes])
    return tuple(specs.values())
