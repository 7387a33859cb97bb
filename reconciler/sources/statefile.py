"""PURE: the text of one state file → the wishes that it declares, or every mistake in it.

A file is taken whole or not at all: half of a file is not what its writer meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """The file is refused; `mistakes` are in the order of the file, and `lines` words each as `file:line: reason`."""

    def __init__(self, name: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        self.lines = [mistake.located(name) for mistake in mistakes]
        super().__init__(told(name, mistakes))


@dataclass(frozen=True, slots=True)
class Declaration:
    """A wish, and the line that its document begins in."""

    line: int
    spec: AttachmentSpec


def told(name: str, mistakes: Sequence[Mistake]) -> str:
    """What is wrong with a file, in one message that is not too long."""
    lines = [mistake.located(name) for mistake in mistakes[:_TOLD]]
    return "; ".join([*lines, *([f"and {len(mistakes) - _TOLD} more"] if len(mistakes) > _TOLD else [])])


def parse(name: str, content: bytes) -> tuple[AttachmentSpec, ...]:
    """What the file declares, in its order. Raises StateFileError, and nothing else, whatever the content is."""
    return tuple(declaration.spec for declaration in declarations(name, content))


def declarations(name: str, content: bytes) -> tuple[Declaration, ...]:
    """As `parse`, with lines."""
    reading = documents.read(content)
    mistakes = reading.mistakes
    declared: dict[AttachmentKey, Declaration] = {}
    for document in reading.documents:
        if len(mistakes) >= documents.MAX_MISTAKES:
            break
        try:
            spec = AttachmentDocument.model_validate(document.data).spec
        except ValidationError as error:
            found = wrongs(error, AttachmentDocument, document.data)
            mistakes += [Mistake(document.line_of(wrong.path), str(wrong)) for wrong in found]
            continue
        if (first := declared.get(spec.key)) is not None:
            reason = f"{shown(str(spec.key))} is declared twice, first in line {first.line}"
            mistakes.append(Mistake(document.line, reason))
        declared[spec.key] = Declaration(document.line, spec)
    if mistakes:
        raise StateFileError(name, sorted(mistakes, key=lambda mistake: mistake.line))
    return tuple(declared.values())
