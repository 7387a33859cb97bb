"""A list of claims, each told as it turns out. Where there is no terminal: plain lines, without colour or motion."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from netplumb.api.cli import tables
from netplumb.api.client.errors import ClientError
from netplumb.models.errors import NetplumbError


class Proof:
    """`failures` holds every claim that did not hold, with what was found instead."""

    def __init__(self) -> None:
        self._console = tables.console()
        self.on_terminal = self._console.is_terminal
        self.failures: list[str] = []

    def chapter(self, title: str) -> None:
        self._console.print(Text(f"\n{title}", "bold"))

    def show(self, thing: RenderableType) -> None:
        self._console.print(thing, soft_wrap=not self.on_terminal)

    def note(self, words: str) -> None:
        self._console.print(Text(words, "dim"), soft_wrap=True)

    def claim(self, claim: str, evidence: Callable[[], object]) -> bool:
        """Whether the claim holds. The evidence returns words about how it does, or None; it raises if it does not."""
        try:
            with self._console.status(Text(f"{claim} …")):
                found = evidence()
        except (NetplumbError, ClientError) as error:
            self.fail(f"{claim}: {error}")
            return False
        self._console.print(Text.assemble(("  ok  ", "green"), claim, (f"  {found or ''}".rstrip(), "cyan")))
        return True

    def fail(self, failure: str) -> None:
        self.failures.append(failure)
        self._console.print(Text.assemble(("FAIL  ", "bold red"), failure), soft_wrap=True)
