"""Whether every source has loaded once. Until then nothing is removed, since one of them may still declare it."""

from __future__ import annotations

from collections.abc import Callable, Collection


class Loading:
    """`then` is called once, when the last of these sources has loaded."""

    def __init__(self, sources: Collection[str], then: Callable[[], None]) -> None:
        self._awaited = set(sources)
        self._then: Callable[[], None] | None = then

    def begin(self) -> None:
        """Where there is none to wait for, all have."""
        self._look()

    def loaded(self, source: str) -> None:
        self._awaited.discard(source)
        self._look()

    def _look(self) -> None:
        if not self._awaited and (then := self._then) is not None:
            self._then = None
            then()
