"""A ping that runs meanwhile, and what it says of its packets."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.e2e.hosts import Host


@dataclass(slots=True)
class Pinging:
    """What a ping that ran meanwhile said of its packets."""

    sent: int = 0
    received: int = 0
    said: str = field(default="", repr=False)


@asynccontextmanager
async def pinging(source: Host, address: str) -> AsyncIterator[Pinging]:
    """One echo request each millisecond, until the block ends."""
    result = Pinging()
    words = source.command("ping", "-n", "-q", "-i", "0.001", "-W", "1", address)
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield result
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = await process.communicate()
    result.said = said.decode()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", result.said)
    assert found, result.said
    result.sent, result.received = int(found[1]), int(found[2])
