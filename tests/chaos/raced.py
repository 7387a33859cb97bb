"""The command `netplumb` in a daemon whose threads are late: `python -m tests.chaos.raced`, as forks.py starts it. The
first word for each of its forks says how late, and what tells of the cluster (`Lateness`).

What runs beside the event loop waits between what it read and what it does, so that what is done meanwhile meets a
reading that is old. All is compared with the kernel when SIGUSR2 asks for it, and never else: what an old reading
spoils stays so, for a test to find.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Self
from unittest import mock

from netplumb.reconciler import main
from netplumb.reconciler.converge import linux, removal
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.ways import WaysKernel
from netplumb.reconciler.kernel.conntrack import Conntrack
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.loop import flows
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.pacing.budgets import Budgets
from tests.e2e.forking import run_to_end, words_to_run
from tests.e2e.preloaded import load
from tests.e2e.told import told_by

PLACES: Mapping[str, Any] = {
    it.__name__.rpartition(".")[2]: it
    for it in (LinuxKernel, WaysKernel, Channel, Nftables, Conntrack, linux, removal, flows)
}
ANYWHERE = (
    *(f"LinuxKernel.{it}" for it in ("observe", "apply", "open", "create", "host_routes", "there", "snapshot")),
    *(f"WaysKernel.{it}" for it in vars(WaysKernel) if not it.startswith("_")),
    *(f"removal.{it}" for it in ("_indexes_of", "_not_put_into", "_remove_group", "_remove_rules")),
    *("linux.apply", "Channel.dump_in_part", "Nftables.remove_owned", "flows._course", "flows._forget_wrong"),
)
"""Calls before and after which a thread may be late."""
DEAR = 0.2


@dataclass(frozen=True, slots=True)
class Lateness:
    """`share` of the calls anywhere are late, by at most so long; `after` those that are named here, always, by so
    many seconds. `view` is the file that tells of the cluster."""

    share: float = 0.0
    most_s: float = 0.0
    after: Mapping[str, float] = field(default_factory=dict)
    view: str = ""

    @property
    def word(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, word: str) -> Self:
        return cls(**json.loads(word))

    def wait(self) -> None:
        if _is_beside() and random.random() < self.share:
            time.sleep(random.random() * self.most_s)


def _is_beside() -> bool:
    return threading.current_thread() is not threading.main_thread()


def _is_dear(*_: object) -> bool:
    return random.random() < DEAR


def _make_late(call: str, lateness: Lateness) -> None:
    place, _, name = call.rpartition(".")
    called = getattr(PLACES[place], name)

    def late(*arguments: Any, **options: Any) -> Any:
        lateness.wait()
        came = called(*arguments, **options)
        if isinstance(came, Iterator):
            came = iter(list(came))
        lateness.wait()
        if _is_beside():
            time.sleep(lateness.after.get(call, 0))
        return came

    mock.patch.object(PLACES[place], name, late).start()


def be(lateness: Lateness) -> None:
    """From now on the daemon of this process is so late, and compares all when it is asked to."""
    for call in dict.fromkeys((*(ANYWHERE if lateness.share else ()), *lateness.after)):
        _make_late(call, lateness)
    if lateness.share:  # some passes are made as those that are dear
        mock.patch.object(Budgets, "is_dear", _is_dear).start()
    mock.patch.object(flows, "PAUSE_MOST_S", 0.0).start()  # a look that is late costs nobody anything
    run = Loop.run

    async def run_and_hear(loop: Loop) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, loop.resync)
        await run(loop)

    mock.patch.object(Loop, "run", run_and_hear).start()


if __name__ == "__main__":
    load()
    import_module("netplumb.reconciler.loop.ways")
    word, *words = words_to_run(int(sys.argv[1]))
    lateness = Lateness.of(word)
    if lateness.view:
        told_by(Path(lateness.view))
    be(lateness)
    sys.argv = ["netplumb", *words]
    run_to_end(main.main)
