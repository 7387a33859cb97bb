"""PURE: the text of one state file → the wishes that it declares, or every mistake in it.

A file is taken whole or not at all: half of a file is not what its writer meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.models.settings import Settings
from netplumb.models.statefile import KINDS, AttachmentDocument
from netplumb.models.words import several
from netplumb.reconciler.settings import documents
from netplumb.reconciler.settings.documents import Mistake, shown
from netplumb.reconciler.settings.mistakes import Wrong, wrongs

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


_SETTINGS_HERE = "is settings and declares nothing; `netplumb config show --config FILE` judges a settings file"


@dataclass(frozen=True, slots=True)
class DeclaredManifest:
    """A network policy or a namespace, and the line that its document begins in."""

    line: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file declares, in its order."""

    attachments: tuple[Declaration, ...] = ()
    manifests: tuple[DeclaredManifest, ...] = ()


NOTHING_DECLARED = Declared()


def told(name: str, mistakes: Sequence[Mistake]) -> str:
    """What is wrong with a file, in one message that is not too long."""
    return several([mistake.located(name) for mistake in mistakes], _TOLD)


def parse(name: str, content: bytes) -> tuple[AttachmentSpec, ...]:
    """What the file declares, in its order. Raises StateFileError, and nothing else, whatever the content is."""
    return tuple(declaration.spec for declaration in declared(name, content).attachments)


def declared(name: str, content: bytes) -> Declared:
    """As `parse`, with lines, and with what else there is."""
    reading = documents.read(content)
    mistakes = reading.mistakes
    attachments: dict[AttachmentKey, Declaration] = {}
    manifests: dict[ManifestKey, DeclaredManifest] = {}
    for document in _one_by_one(reading.documents):
        if len(mistakes) >= documents.MAX_MISTAKES:
            break
        if _is_settings(document):
            mistakes.append(Mistake(document.line, _SETTINGS_HERE))
            continue
        if _is_of_others(document):
            mistakes.append(Mistake(document.line_of(("kind",)), _kind_words(document)))
            continue
        model = _model(document)
        try:
            said = model.model_validate(document.data)
        except ValidationError as error:
            found = wrongs(error, model, document.data)
            mistakes += [Mistake(document.line_of(wrong.path), _words(wrong, document)) for wrong in found]
            continue
        first: Declaration | DeclaredManifest | None
        if isinstance(said, AttachmentDocument):
            first = attachments.get(said.key)
            attachments[said.key] = Declaration(document.line, said.spec)
        else:
            first = manifests.get(said.key)
            manifests[said.key] = DeclaredManifest(document.line, said)
        if first is not None:
            reason = f"{shown(str(said.key))} is declared twice, first in line {first.line}"
            mistakes.append(Mistake(document.line, reason))
    if mistakes:
        raise StateFileError(name, sorted(mistakes, key=lambda mistake: mistake.line))
    return Declared(tuple(attachments.values()), tuple(manifests.values()))


def _one_by_one(found: Iterable[documents.Document]) -> Iterator[documents.Document]:
    """The documents, and those that lists of Kubernetes' hold in their place."""
    for document in found:
        if _kind(document) == "List" and (items := documents.items_of(document)) is not None:
            yield from items
        else:
            yield document


def _model(document: documents.Document) -> type[AttachmentDocument | Manifest]:
    """By its kind; one of a kind that nobody knows is judged as an attachment beside."""
    return KINDS.get(_kind(document), AttachmentDocument)


def _is_settings(document: documents.Document) -> bool:
    """Whether it is the daemon's own file: it says settings and nothing else, and not only those that an attachment has
    under the same name."""
    said = set(document.data) if isinstance(document.data, dict) else set()
    return said <= set(Settings.model_fields) and not said <= set(AttachmentDocument.model_fields)


def _is_of_others(document: documents.Document) -> bool:
    """Whether it is Kubernetes' and of a kind that is not taken, as a provider's own policies are."""
    return isinstance(document.data, dict) and "apiVersion" in document.data and _kind(document) not in KINDS


def _kind(document: documents.Document) -> str:
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    return kind if isinstance(kind, str) else ""


def _words(wrong: Wrong, document: documents.Document) -> str:
    return _kind_words(document) if wrong.path == ("kind",) and _kind(document) else str(wrong)


def _kind_words(document: documents.Document) -> str:
    return f"kind: must be one of {', '.join(KINDS)}, not {shown(_kind(document))}"
