"""Looks at the IPv6 switch of the device that leads to other nodes: where a link has no IPv6 address, as that has none,
the kernel tells of no change to it but by what it takes with it, which is not listened to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from netplumb.models.errors import StepError
from netplumb.reconciler.kernel import sysctls

PAUSE_S = 0.5

log = structlog.get_logger(__name__)


async def watch_ipv6(device: Callable[[], str], switched_off: Callable[[], None]) -> None:
    """Looks without end. `device` is the name of that which is to have IPv6, empty where there is none. Once it is off,
    that is told once: what is done about it, and how often it is tried, is not decided here."""
    was_off = False
    while True:
        name = device()
        try:
            is_off = bool(name) and sysctls.read(f"net/ipv6/conf/{name}/disable_ipv6") == "1"
        except StepError as error:
            log.debug("no look at the device to other nodes", cause=str(error))
            is_off = was_off
        if is_off and not was_off:
            switched_off()
        was_off = is_off
        await asyncio.sleep(PAUSE_S)
