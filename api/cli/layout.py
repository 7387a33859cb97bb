"""Tables and fields for people, laid out for the width that there is: words are never broken.

What does not fit side by side is wrapped within its column; where the longest words alone are too wide for that, each
row is told as fields, one below the other. A word that is wider than the line, such as a path, stays whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from rich.console import Console
from rich.text import Text

from netplumb.api.cli.lines import columns, wrapped

GAP = 2
_REST = "  "
_WORD = re.compile(r"\S+")


class Laid(Protocol):
    def lines(self, width: int) -> Iterator[Text]: ...


Part: TypeAlias = str | Text | Laid


def console() -> Console:
    """Made anew for each command, since stdout is looked at when it is made. Colour is for terminals, and without it
    where NO_COLOR is set; rich sees to both."""
    return Console(width=columns(sys.stdout), highlight=False, markup=False, emoji=False)


def printer(on: Console | None = None) -> Callable[[Part], None]:
    """What prints a part of an answer."""
    to = on or console()

    def show(part: Part) -> None:
        text = Text(part) if isinstance(part, str) else part
        for line in broken(text, to.width) if isinstance(text, Text) else text.lines(to.width):
            to.print(line, soft_wrap=True)

    return show


def broken(text: Text, width: int) -> Iterator[Text]:
    """The lines of a text, each with its styles; what one of them goes on with is indented."""
    for line in text.split("\n", allow_blank=True):
        plain = line.plain
        indent = " " * (len(plain) - len(plain.lstrip())) + _REST
        starts, start, room = [], 0, width
        for word in _WORD.finditer(plain):
            if word.end() - start > room and plain[start : word.start()].strip():
                start, room = word.start(), width - len(indent)
                starts.append(start)
        for number, part in enumerate(line.divide(starts)):
            part.rstrip()
            yield part if not number else Text.assemble(indent, part)


@dataclass(slots=True)
class Fields:
    """Names on the left, what they are on the right."""

    rows: Sequence[tuple[str, str | Text]]
    style: str = "bold"

    def lines(self, width: int) -> Iterator[Text]:
        column = max((len(name) for name, _ in self.rows), default=0) + GAP
        for name, value in self.rows:
            cell = _cell(value)
            head = Text(name, self.style)
            if _least(cell.plain) > width - column:
                yield head
                yield from (Text(_REST + line, cell.style) for line in wrapped(cell.plain, width - len(_REST)))
                continue
            head.pad_right(column - len(name))
            for line in wrapped(cell.plain, width - column):
                yield Text.assemble(head, Text(line, cell.style))
                head = Text(" " * column)


@dataclass(slots=True)
class Columns:
    """A table with a header, and without a frame."""

    header: Sequence[str]
    rows: list[Sequence[str | Text]] = field(default_factory=list)

    def add_row(self, *cells: str | Text) -> None:
        self.rows.append(cells)

    def lines(self, width: int) -> Iterator[Text]:
        cells = [[_cell(cell) for cell in row] for row in self.rows]
        columns = list(zip(*([Text(name) for name in self.header], *cells), strict=True))
        widths = fitting(
            [max(_natural(cell.plain) for cell in column) for column in columns],
            [max(_least(cell.plain) for cell in column) for column in columns],
            width - GAP * (len(columns) - 1),
        )
        if widths is None:
            for number, row in enumerate(cells):
                if number:
                    yield Text()
                told = [(name, cell) for name, cell in zip(self.header, row, strict=True) if cell.plain]
                yield from Fields(told).lines(width)
            return
        yield from _side_by_side([Text(name, "bold") for name in self.header], widths)
        for row in cells:
            yield from _side_by_side(row, widths)


def fitting(natural: Sequence[int], least: Sequence[int], width: int) -> list[int] | None:
    """Widths that fill no more than there is, taken from those with the most to spare; None where the least are too
    wide."""
    if sum(least) > width:
        return None
    widths = list(natural)
    for _ in range(sum(widths) - width):
        widths[max(range(len(widths)), key=lambda at: widths[at] - least[at])] -= 1
    return widths


def _side_by_side(cells: Sequence[Text], widths: Sequence[int]) -> Iterator[Text]:
    columns = [wrapped(cell.plain, width) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, columns))):
        line = Text()
        for lines, cell, width in zip(columns, cells, widths, strict=True):
            part = lines[number] if number < len(lines) else ""
            line.append(part, cell.style)
            line.append(" " * (width - len(part) + GAP))
        line.rstrip()
        yield line


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)


def _natural(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _least(text: str) -> int:
    return max(map(len, text.split()), default=0)
