"""The daemon under a clock that a test sets: `python -m tests.e2e.clocked`, as forks.py starts it. The first word for
each of its forks is a file with the seconds by which the clock is wrong.

What is replaced is what the reconciler is told of the time of day; time that only runs on (monotonic) is as it is, as
on a machine whose clock is set. Libraries have their own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.e2e.forking import run_to_end, words_to_run


def _set_by(file: Path) -> None:
    true_time = time.time

    def told() -> float:
        asks = sys._getframe(1).f_globals.get("__name__", "")
        if not asks.startswith("netplumb.reconciler."):
            return true_time()
        return true_time() + float(file.read_text() or 0)

    time.time = told


if __name__ == "__main__":
    from netplumb.reconciler.main import main
    from tests.e2e.preloaded import load

    load()
    file, *words = words_to_run(int(sys.argv[1]))
    _set_by(Path(file))
    sys.argv = ["netplumb", *words]
    run_to_end(main)
