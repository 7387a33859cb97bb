"""The command `netplumb`, loaded once and forked for each run: `python -m tests.e2e.preloaded`, started by forks.py."""

from __future__ import annotations

import sys
from importlib import import_module

from netplumb.reconciler.main import main
from tests.e2e.forking import words_to_run

LOADED = ("reconciler.daemon", "reconciler.settings.configuration", "api.cli.answers", "api.cli.call")
"""What the daemon and most of the other commands import when they run; a fork imports the rest for itself."""


def load() -> None:
    for module in LOADED:
        import_module(f"netplumb.{module}")


if __name__ == "__main__":
    load()
    sys.argv = ["netplumb", *words_to_run(int(sys.argv[1]))]
    main()
