"""Writes what network policies cost into docs/policy.md: `python -m tests.bench.policy.page`. The rest of the page is
written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from tests.bench.policy.measured import Measured, recorded

FILE = Path(__file__).parents[3] / "docs" / "policy.md"
HEADING, _NEXT = "## What it costs\n", "\n## "
_WIDTH = 120
QUIET = 1.5
_NOT_QUIET = "**The machine was not quiet then**, so that the ratios say more of what else it did."


def rendered() -> str:
    """The page with its section as of the last measurement."""
    page = FILE.read_text()
    start = page.index(HEADING) + len(HEADING)
    end = page.index(_NEXT, start)
    return page[:start] + "\n" + "\n".join(_lines(recorded())) + "\n" + page[end:]


def _lines(of: Measured) -> Iterator[str]:
    yield fill(
        f"{of.attachments:,} workloads with {of.labels} labels, without any policy and with {of.policies} that "
        f"allow two labels and three ports each; one run of `make bench-policy` with {of.machine}. The quickest of "
        "many rounds counts, since whatever else a machine does only adds to it.",
        _WIDTH,
    )
    if of.busy > QUIET:
        yield ""
        yield _NOT_QUIET
    yield ""
    yield "| What | Without policies | With them | Ratio |"
    yield "| --- | --- | --- | --- |"
    for it in of.ratios:
        yield f"| {it.what} | {_number(it.before)} | {_number(it.after)} | {it.value:.2f} |"
    before, after = of.memory_mib
    yield f"| the daemon's memory (MiB) | {before:.0f} | {after:.0f} | {after / before:.2f} |"
    yield ""
    yield fill(
        f"All {of.policies} are loaded and enforced in {of.load_s:.1f} s; another label of one workload takes "
        f"{of.label_ms:.1f} ms.",
        _WIDTH,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


if __name__ == "__main__":
    FILE.write_text(rendered())
