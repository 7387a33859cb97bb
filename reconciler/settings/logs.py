"""How the daemon logs: one event a line, for people on a terminal or as JSON for programs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

BURST, A_SECOND = 1000.0, 20.0
"""Lines of a kind: a node full of workloads may be said to be attached at once."""


def configure(log_format: str, level: str) -> None:
    """Sets structlog up for the process. Control characters in values never reach the log as they are."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        structlog.processors.format_exc_info,
        _printable,
    ]
    throttle = Throttle(time.monotonic)
    renderer: structlog.typing.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        shared.remove(structlog.processors.format_exc_info)
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setLevel(logging.WARNING)
    libraries.addFilter(throttle)
    logging.basicConfig(handlers=[libraries], force=True)
    structlog.configure(
        processors=[throttle, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class Throttle:
    """Whoever can make the daemon log, as any client, workload or file can, must not fill the disk by it, nor take up
    its time. Of each kind of line some go through at once and then so many a second; those that did not are counted on
    the next one that does. Kinds are told by the line's own words, and the strangers' are among its values."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def __call__(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        kind = self._kinds.setdefault(str(event["event"]), _Kind(self._clock()))
        if not kind.goes_through(self._clock()):
            raise structlog.DropEvent
        if kind.left_out:
            event["left_out_before"], kind.left_out = kind.left_out, 0
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """The same for what libraries log."""
        return self._kinds.setdefault(record.msg, _Kind(self._clock())).goes_through(self._clock())


@dataclass(slots=True)
class _Kind:
    at: float
    room: float = BURST
    left_out: int = 0

    def goes_through(self, now: float) -> bool:
        self.room = min(BURST, self.room + (now - self.at) * A_SECOND)
        self.at = now
        if self.room < 1:
            self.left_out += 1
            return False
        self.room -= 1
        return True


def _printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escapes what does not print: a terminal acts on more characters than the renderers quote."""
    return {
        name: value if not isinstance(value, str) or name == "exception" else _escaped(value)
        for name, value in event.items()
    }


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
