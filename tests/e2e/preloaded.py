"""The command `netplumb`, loaded once and forked for each run: `python -m tests.e2e.preloaded`, started by forks.py."""

from __future__ import annotations

import sys
from importlib import import_module

import typer.main

from netplumb.reconciler.main import app, main
from tests.e2e.forking import run_to_end, words_to_run

LOADED = (
    "netplumb.reconciler.daemon",
    "netplumb.reconciler.settings.configuration",
    "netplumb.reconciler.settings.logs",
    "netplumb.api.cli.answers",
    "netplumb.api.cli.call",
    "anyio._backends._asyncio",  # which watchfiles asks anyio for when it begins to watch
)
"""What the daemon and most of the other commands import when they run; a fork imports the rest for itself."""


def load() -> None:
    """Once for all forks; and typer makes its commands out of ours, as it would in each of them."""
    for module in LOADED:
        import_module(module)
    vars(typer.main)["get_command"] = {app: typer.main.get_command(app)}.__getitem__


if __name__ == "__main__":
    load()
    sys.argv = ["netplumb", *words_to_run(int(sys.argv[1]))]
    run_to_end(main)
