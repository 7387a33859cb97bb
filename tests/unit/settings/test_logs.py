"""What reaches the log, in either format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from netplumb.reconciler.settings import logs

HOSTILE = "a\x1b[31m\nb\x7f\x9b\u2028\u202e\ud800"


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_control_characters_reach_the_log_escaped(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One event is one line, and a terminal acts on none of it."""
    logs.configure(log_format, "info")
    structlog.get_logger().warning("refused", cause=HOSTILE)
    line, end, rest = capsys.readouterr().err.partition("\n")
    assert (end, rest) == ("\n", "")
    assert line.isprintable()
    assert "\\x1b[31m" in line


def test_what_prints_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    structlog.get_logger().warning("refused", cause="é \\ 'x'", count=3)
    written = json.loads(capsys.readouterr().err)
    assert (written["cause"], written["count"]) == ("é \\ 'x'", 3)


def test_an_exception_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is several lines in the text format, and one value in JSON."""
    for log_format in ("text", "json"):
        logs.configure(log_format, "info")
        try:
            raise ValueError("boom")
        except ValueError:
            structlog.get_logger().exception("failed")
        written = capsys.readouterr().err
        text = json.loads(written)["exception"] if log_format == "json" else written
        assert "Traceback" in text.splitlines()[0 if log_format == "json" else 1]
        assert "ValueError: boom" in text.splitlines()


def test_of_lines_of_a_kind_some_go_through_and_the_rest_are_counted() -> None:
    """However often a stranger makes the daemon log, and however its values differ; other kinds are as before."""
    now = [0.0]
    throttle = logs.Throttle(lambda: now[0])

    def told(event: str, **values: object) -> dict[str, object] | None:
        try:
            return dict(throttle(None, "info", {"event": event, **values}))
        except structlog.DropEvent:
            return None

    burst = int(logs.BURST)
    assert sum(told("refused", by=number) is not None for number in range(burst + 500)) == burst
    assert told("repaired") == {"event": "repaired"}
    now[0] += 1 / logs.A_SECOND
    assert told("refused") == {"event": "refused", "left_out_before": 500}
    assert told("refused") is None


def test_what_libraries_log_is_held_back_too(capsys: pytest.CaptureFixture[str]) -> None:
    """By the words before their values are put in."""
    logs.configure("json", "info")
    for number in range(int(logs.BURST) + 500):
        logging.getLogger("library").warning("connection %s failed", number)
    assert len(capsys.readouterr().err.splitlines()) <= logs.BURST + 100
