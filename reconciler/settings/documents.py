"""PURE: the text of a settings file or a state file → plain data that knows its lines.

A deliberately small YAML, of which JSON is a part. Scalars stay text, and the model that validates them gives them
their type: `1.10`, `no` and `02:00:5e:10:00:01` mean what they look like, and a file, an environment variable and a
flag read alike. Only a plain `null`, `~` or nothing is None. Anchors, aliases, tags and duplicate keys are mistakes;
so are control characters and anything that is larger or deeper than a person would write.

`read` returns for every input, however broken; what is wrong with it is in `Reading.mistakes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from netplumb.models.base import Quoted

MAX_BYTES = 1 << 20
MAX_DOCUMENTS = 10_000
MAX_DEPTH = 16
MAX_ENTRIES = 40_000
"""Keys and items in one document: a network policy with the ten thousand networks that a rule may have is 30,000."""
MAX_MISTAKES = 2_000
"""Reading ends there. A file of half a million mistakes would be a gigabyte of words about them."""

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands within its document: keys of mappings and indexes of sequences."""

_SHOWN_CHARS = 200
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, in words that need no others. Lines count from 1; 0 means the file as a whole."""

    line: int
    message: str

    def located(self, file: str) -> str:
        """`web.yaml:4: if_name: …`"""
        return f"{file}:{self.line}: {self.message}" if self.line else f"{file}: {self.message}"


@dataclass(slots=True)
class Document:
    """One document: its data, and the line of every key and item in it."""

    line: int
    data: object = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of what stands at the path, or else of the nearest thing around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), self.line)


def items_of(document: Document) -> list[Document] | None:
    """The documents that one of `kind: List` holds, as `kubectl get -o yaml` prints several; None if it is none."""
    data = document.data
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list):
        return None
    found = [Document(document.line_of(("items", number)), item) for number, item in enumerate(items)]
    for path, line in document.lines.items():
        match path:
            case ("items", int() as number, *inner) if inner:
                found[number].lines[tuple(inner)] = line
    return found


@dataclass(slots=True)
class Reading:
    documents: list[Document] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


class _Stop(Exception):
    """Reading on makes no sense after this mistake."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.mistake = Mistake(line, message)


def shown(text: str) -> str:
    """The text as it may stand in one line: quoted if it does not print, and cut if it is long."""
    if len(text) > _SHOWN_CHARS:
        text = text[:_SHOWN_CHARS] + "…"
    return text if text and text.isprintable() else repr(text)


def read(content: bytes) -> Reading:
    """The documents in the file. Documents without content, such as a file of comments, are left out."""
    reading = Reading()
    try:
        _Composer(reading, _events(_decoded(content))).compose()
    except _Stop as stop:
        reading.mistakes.append(stop.mistake)
    return reading


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _Stop(0, f"is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Stop(content.count(b"\n", 0, error.start) + 1, f"is not UTF-8: {error.reason}") from None
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _Stop(line, f"holds the control character {found.group()!r}")
    return text


def _events(text: str) -> Iterator[Event]:
    line = 1
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            line = event.start_mark.line + 1
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(filter(None, (error.context, error.problem)))
        raise _Stop(mark.line + 1 if mark else line, shown(words)) from None
    except YAMLError as error:
        raise _Stop(line, shown(str(error).partition("\n")[0])) from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, AssertionError, NotImplementedError):
        # ruamel's scanner trips over some nonsense instead of refusing it, such as "\UFFFFFFFF".
        raise _Stop(line, "is not valid YAML") from None


class _Composer:
    """Turns the parser's events into data. Recursion goes no deeper than MAX_DEPTH."""

    def __init__(self, reading: Reading, events: Iterator[Event]) -> None:
        self._reading = reading
        self._events = events
        self._document = Document(0)

    def compose(self) -> None:
        started = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if (started := started + 1) > MAX_DOCUMENTS:
                    raise _Stop(_line(event), f"holds more than {MAX_DOCUMENTS} documents")
                root = next(self._events)
                self._document = Document(_line(root))
                self._document.data = self._value(root, ())
                if self._document.data is None:
                    continue
                self._reading.documents.append(self._document)

    def _value(self, event: Event, path: Path) -> object:
        if len(path) > MAX_DEPTH:
            raise _Stop(_line(event), f"is nested more than {MAX_DEPTH} deep")
        self._refuse_indirection(event)
        match event:
            case ScalarEvent():
                return None if event.style is None and event.value in _NULLS else _text(event)
            case SequenceStartEvent():
                return self._sequence(path)
            case MappingStartEvent():
                return self._mapping(path)
            case _:
                return None

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), CollectionEndEvent):
            here = (*path, len(items))
            self._locate(here, event)
            items.append(self._value(event, here))
        return items

    def _mapping(self, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), CollectionEndEvent):
            if not isinstance(event, ScalarEvent):
                raise _Stop(_line(event), "a key must be text")
            self._refuse_indirection(event)
            key = _text(event)
            here = (*path, key)
            if key in values:
                self._mistake(event, f"{shown(key)} is given twice, first in line {self._document.lines[here]}")
            else:
                self._locate(here, event)
            values[key] = self._value(next(self._events), here)
        return values

    def _locate(self, path: Path, event: Event) -> None:
        if len(self._document.lines) == MAX_ENTRIES:
            raise _Stop(_line(event), f"holds more than {MAX_ENTRIES} entries in one document")
        self._document.lines[path] = _line(event)

    def _refuse_indirection(self, event: Event) -> None:
        """What is written is what is meant: nothing is copied from elsewhere, and no tag changes a type."""
        if isinstance(event, AliasEvent):
            self._mistake(event, f"aliases are not supported: *{shown(event.anchor)}")
        elif isinstance(event, NodeEvent) and event.anchor is not None:
            self._mistake(event, f"anchors are not supported: &{shown(event.anchor)}")
        if (tag := getattr(event, "tag", None)) is not None:
            self._mistake(event, f"tags are not supported: {shown(str(tag))}")

    def _mistake(self, event: Event, message: str) -> None:
        if len(self._reading.mistakes) == MAX_MISTAKES:
            raise _Stop(_line(event), "and more; too much is wrong to go on")
        self._reading.mistakes.append(Mistake(_line(event), message))


def _text(event: ScalarEvent) -> str:
    """JSON escapes a character beyond U+FFFF as two surrogates (RFC 8259, section 7), which YAML leaves apart."""
    value: str = event.value
    if event.style is not None and value.isdigit():
        return Quoted(value)
    if event.style != '"':
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _line(event: Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1
