"""A ping that runs meanwhile, and what it says of its packets."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryFile

from tests.e2e.hosts import Host

_ROUND = 1 << 16


@dataclass(slots=True)
class Pinging:
    """What a ping that ran meanwhile said of its packets. `lost` are those without an answer before the last that had
    one: what was under way when the ping ended is not among them."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    said: str = field(default="", repr=False)


@asynccontextmanager
async def pinging(source: Host, address: str) -> AsyncIterator[Pinging]:
    """One echo request each millisecond, until the block ends."""
    result = Pinging()
    words = source.command("ping", "-n", "-i", "0.001", "-W", "1", address)
    with TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output)
        try:
            yield result
        finally:
            process.send_signal(signal.SIGINT)
            await process.wait()
        output.seek(0)
        said = output.read().decode()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said[-1000:]
    result.said = said[said.rindex("---", 0, found.start()) :]
    result.sent, result.received = int(found[1]), int(found[2])
    result.lost = _lost([int(it) for it in re.findall(r"icmp_seq=(\d+) ttl", said)])


def _lost(numbers: list[int]) -> int:
    """How many are missing of those up to the last; they begin with 1 and are of 16 bits."""
    rounds = last = 0
    for number in numbers:
        rounds += last - number > _ROUND // 2
        last = number
    return rounds * _ROUND + last - len(numbers)
