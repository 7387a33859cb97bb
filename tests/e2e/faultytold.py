"""The daemon that a file tells of its cluster (told.py), on the operating system of faulty.py: `python -m
tests.e2e.faultytold`. The first two words for each fork are the directory of its faults, and that file."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from tests.e2e.faultcounts import FAULTS
from tests.e2e.faults import Armoury
from tests.e2e.faulty import install
from tests.e2e.forking import run_to_end, words_to_run

if __name__ == "__main__":
    install()
    import_module("tests.e2e.preloaded").load()
    import_module("netplumb.reconciler.loop.ways")
    told = import_module("tests.e2e.told")
    directory, file, *words = words_to_run(int(sys.argv[1]))
    FAULTS.armoury = Armoury(Path(directory))
    told.told_by(Path(file))
    sys.argv = ["netplumb", *words]
    run_to_end(sys.modules["netplumb.reconciler.main"].main)
