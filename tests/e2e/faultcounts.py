"""Inside the daemon under test: counts its calls to the operating system, and says which fault each is to meet."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.faults import DEATHS, Armoury, Fault, Kind

DUMP = "dump "
"""How the name of a call begins that reads a whole table of the kernel's."""


class Faults:
    """Counts the calls, and says what each is to meet."""

    def __init__(self) -> None:
        self.armoury = Armoury(Path())
        self._lock = threading.Lock()
        self._armed_at = 0
        self._counted = 0

    def meet(self, call: str, *, changes: bool) -> Fault:
        with self._lock:
            armed = self.armoury.armed()
            if armed is None:
                return Fault()
            fault, number = armed
            if number != self._armed_at:
                self._armed_at, self._counted = number, 0
            counts = _counts(fault.kind, call, changes=changes)
            self._counted += counts
            met = counts and fault.meets(self._counted)
            self._write(call=call, changes=changes, met=met)
            return fault if met else Fault()

    def carry_out(self, call: str, do: Callable[[], Any], *, changes: bool, refusal: Callable[[int], Any]) -> Any:
        """One call outside of netlink: it dies, is refused, or is carried out."""
        fault = self.meet(call, changes=changes)
        if fault.kind is Kind.DIE_BEFORE:
            die()
        if fault.code:
            return refusal(fault.code)
        result = do()
        if fault.kind is Kind.DIE_AFTER:
            die()
        return result

    def plan(self, steps: Sequence[tuple[str, str]]) -> None:
        self._write(plan=steps)

    def done(self) -> None:
        self._write(done=True)

    def _write(self, **entry: Any) -> None:
        if self.armoury.armed() is not None:
            self.armoury.write(entry | {"thread": threading.get_ident()})


def _counts(kind: Kind, call: str, *, changes: bool) -> bool:
    if kind is Kind.INTERRUPT:
        return call.startswith(DUMP)
    return changes or kind not in DEATHS


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


FAULTS = Faults()
