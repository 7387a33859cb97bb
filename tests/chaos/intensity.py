"""How much chaos: little as part of the suite, more by environment variables (see CONTRIBUTING.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Intensity:
    """`examples` histories of at most `steps` steps each; with `minutes`, again and again until they are over.

    `shrink` looks for a shorter history that fails too, which takes as many runs.
    """

    examples: int = 3
    steps: int = 15
    minutes: float = 0.0
    shrink: bool = False
    seed: int | None = None

    @classmethod
    def from_environment(cls) -> Self:
        asked = {name: value for name in ("examples", "steps") if (value := os.environ.get(f"CHAOS_{name.upper()}"))}
        seed = os.environ.get("CHAOS_SEED")
        return cls(
            **{name: int(value) for name, value in asked.items()},
            minutes=float(os.environ.get("CHAOS_MINUTES") or 0),
            shrink=os.environ.get("CHAOS_SHRINK", "") not in ("", "0"),
            seed=int(seed) if seed else None,
        )

    @property
    def timeout_s(self) -> float:
        """How long a test of this intensity may take before it counts as hung."""
        return 0 if self.shrink else 300 + self.minutes * 60 + self.examples * self.steps * 30
