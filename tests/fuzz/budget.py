"""How long to fuzz: FUZZ_SCALE multiplies every number of inputs. 1 is what `make sweeps` runs."""

from __future__ import annotations

import os

SCALE = int(os.environ.get("FUZZ_SCALE", "1"))


def inputs(number: int) -> int:
    return number * SCALE
