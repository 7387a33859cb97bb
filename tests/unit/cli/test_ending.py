"""How the process of a daemon ends that was told to stop."""

from __future__ import annotations

import subprocess
import sys

HANGS_S, WITHIN_S = 600, 60.0
PROGRAM = f"""
import asyncio, time
from netplumb.reconciler import daemon, main

async def run(settings, reload):
    asyncio.ensure_future(asyncio.to_thread(time.sleep, {HANGS_S}))
    await asyncio.sleep(0.1)
    print("stopped", flush=True)

daemon.run = run
main.app(["daemon"])
"""


def test_a_daemon_that_stopped_waits_for_no_thread() -> None:
    """It has stopped, and whoever told it to waits for its process: one that starts another in its place, or a unit."""
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
