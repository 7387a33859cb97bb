"""Hears what network policies deny, while there are any, and tells some of it as events.

It wakes nothing: what is denied is as it should be. It is imported where there are policies alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.base import IPAddress
from netplumb.models.errors import StepError
from netplumb.models.events import Event, EventKind
from netplumb.models.networkpolicy import Direction
from netplumb.models.policyset import DENIED_BYTES, DENIED_GROUP, PolicySet
from netplumb.models.ports import Protocol as PortProtocol
from netplumb.models.words import several
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.history.history import Tell
from netplumb.reconciler.kernel.nftables.nflog import Nflog, Told
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID
from netplumb.reconciler.pacing.denials import Denials

AGAIN_S = 60.0
_NAMED = 3
_DIRECTIONS = {it.lower(): it for it in Direction}
_PROTOCOLS = {it.number: it.value for it in PortProtocol} | {1: "icmp", 58: "icmpv6"}

log = structlog.get_logger(__name__)


class Places(Protocol):
    """Where attachments are, as passes learnt it."""

    def at(self, place: tuple[int, int]) -> AttachmentKey | None: ...
    def holder(self, address: bytes) -> AttachmentKey | None: ...


class DenialWatch:
    """Lives on the event loop's thread. `record` is what is desired under a key."""

    def __init__(self, places: Places, record: Callable[[AttachmentKey], Attachment | None], tell: Tell) -> None:
        self._places = places
        self._record = record
        self._tell = tell
        self._denials = Denials()
        self._policies = PolicySet()
        self._nflog: Nflog | None = None
        self._again: asyncio.TimerHandle | None = None

    def take(self, policies: PolicySet) -> None:
        """Other policies are in force; where there are none nothing is held open."""
        self._policies = policies
        if not policies.policies:
            self.close()
        elif self._nflog is None:
            self._open()

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        try:
            self._nflog = Nflog(DENIED_GROUP, DENIED_BYTES)
        except (StepError, OSError) as error:
            log.warning("what policies deny is counted, and not told", cause=str(error), retry_after_s=AGAIN_S)
            self._again = loop.call_later(AGAIN_S, self._open)
            return
        loop.add_reader(self._nflog.fileno(), self._hear)

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._nflog is not None:
            asyncio.get_running_loop().remove_reader(self._nflog.fileno())
            self._nflog.close()
            self._nflog = None

    def _hear(self) -> None:
        if self._nflog is None:
            return
        now = time.monotonic()
        for told in self._nflog.drain():
            direction = _DIRECTIONS.get(told.prefix)
            if direction is None:
                continue
            index = told.iif if direction is Direction.EGRESS else told.oif
            key = self._places.at((NODE_NSID, index))
            record = self._record(key) if key is not None else None
            other = told.destination if direction is Direction.EGRESS else told.source
            ends = (told.source, told.destination, told.protocol, told.port)
            if record is not None and self._denials.is_told((record.key, direction), other, ends, now):
                self._tell(Event(EventKind.DENIED, record.key, self._words(told, direction, record)))

    def _words(self, told: Told, direction: Direction, record: Attachment) -> str:
        port = f" port {told.port}" if told.port else ""
        ends = f"from {self._end(told.source)} to {self._end(told.destination)}{port}"
        combinations = selection(self._policies).of(record).combinations
        named = [str(key) for it in combinations if it.direction is direction for key in it.policies]
        why = f"no {direction.lower()} rule of {several(named, _NAMED, ', ')} allows it"
        return f"{_PROTOCOLS.get(told.protocol, f'protocol {told.protocol}')} {ends} denied: {why}"

    def _end(self, address: IPAddress) -> str:
        key = self._places.holder(address.packed)
        return f"{address} ({key})" if key is not None else str(address)
