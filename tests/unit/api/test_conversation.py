"""Ctrl-C in a conversation with the daemon, at the moment that asyncio forgets."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.conversation import converse


async def silent(_: AsyncClient) -> None:
    """Asks nothing."""


@pytest.fixture
def interrupted_at_takeover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGINT that comes as soon as asyncio has taken SIGINT over."""
    original = signal.signal

    def take_over(number: int, handler: object) -> object:
        before = original(number, handler)  # type: ignore[arg-type]  # what signal.signal accepts
        if number == signal.SIGINT and handler is not signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)
        return before

    monkeypatch.setattr(signal, "signal", take_over)


@pytest.mark.usefixtures("interrupted_at_takeover")
def test_an_interrupt_at_the_start_is_an_interrupt(tmp_path: Path) -> None:
    """And no CancelledError, which no caller expects: it would be a traceback instead of an end in order."""
    with pytest.raises(KeyboardInterrupt):
        converse(tmp_path / "socket", 1, silent)
