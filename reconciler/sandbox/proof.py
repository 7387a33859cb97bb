"""A list of claims, each told as it turns out. Where there is no terminal: plain lines, without colour or motion."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from netplumb.api.cli import layout
from netplumb.api.client.errors import ClientError
from netplumb.models.errors import NetplumbError


class Proof:
    """`failures` holds every claim that did not hold, with what was found instead."""

    def __init__(self) -> None:
        self._console = layout.console()
        self.show = layout.printer(self._console)
        self.on_terminal = self._console.is_terminal
        self.failures: list[str] = []

    def chapter(self, title: str) -> None:
        self.show(Text(f"\n{title}", "bold"))

    def note(self, words: str) -> None:
        self.show(Text(words, "dim"))

    def claim(self, claim: str, evidence: Callable[[], object]) -> bool:
        """Whether the claim holds. The evidence returns words about how it does, or None; it raises if it does not."""
        try:
            with self._console.status(Text(f"{claim} …")):
                found = evidence()
        except (NetplumbError, ClientError) as error:
            self.fail(f"{claim}: {error}")
            return False
        self.show(Text.assemble(("  ok  ", "green"), claim, (f"  {found or ''}".rstrip(), "cyan")))
        return True

    def fail(self, failure: str) -> None:
        self.failures.append(failure)
        self.show(Text.assemble(("FAIL  ", "bold red"), failure))
