"""Writes this node's attachments to etcd, below the node's own name: their state, for people who look at all nodes, and
what policies of other nodes need to know of them.

Each kind is written in batches, not more often than its pause, and of each attachment only the latest; so a node on
which thousands come and go costs etcd no more than a few transactions. What etcd has is read at the beginning, and only
differences are written.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from urllib.parse import quote

from netplumb.models.status import AttachmentView, Change, WatchEvent
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put
from netplumb.reconciler.cluster.etcd.entries import Keys
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.records import EndpointRecord

AT_ONCE = 100
"""etcd takes 128 operations in a transaction (--max-txn-ops)."""

STATE_PAUSE_S = 1.0
ENDPOINTS_PAUSE_S = 0.2
"""Shorter, since packets wait for it."""

Said = Callable[[AttachmentView, bytes | None], bytes | None]
"""What is to be in etcd of an attachment, where this is; None for nothing."""


def key_name(view: AttachmentView) -> str:
    """Of what waits for a key that another holds, with its source."""
    name = f"{quote(view.key.workload_id, safe='')}/{view.key.if_name}"
    return f"{name}@{quote(view.attachment.source, safe='')}" if view.is_claim else name


def state(view: AttachmentView, _: bytes | None = None) -> bytes:
    """What became of it; what it is to policies is said apart, and once."""
    attachment = view.attachment
    return json.dumps(
        {
            "workload_id": view.key.workload_id,
            "if_name": view.key.if_name,
            "phase": view.status.phase.value,
            "source": attachment.source,
            "generation": attachment.generation,
            "observed_generation": view.status.observed_generation,
            "unmet": [{"reason": it.reason, "message": it.message} for it in view.unmet],
        },
        sort_keys=True,
    ).encode()


def endpoint(view: AttachmentView, there: bytes | None) -> bytes | None:
    """Nothing of what waits for another's key, and nothing any more of what goes. Of what was rebuilt nobody here knows
    the labels, so that what is there stays."""
    attachment = view.attachment
    if attachment.is_rebuilt:
        return there
    if view.is_claim or attachment.removing or not attachment.addresses:
        return None
    return EndpointRecord(
        workload_id=view.key.workload_id,
        if_name=view.key.if_name,
        namespace=attachment.namespace,
        labels=dict(sorted(attachment.policy_labels.items())),
        addresses=attachment.addresses,
    ).written()


class Reporting:
    """`watch` tells of all attachments, and then of each change; `fence` is what has to hold for anything to be
    written below `keys`; `told` is called as often as etcd has all of it."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        said: Said,
        fence: Callable[[], pb.Compare],
        watch: Callable[[], AsyncIterator[WatchEvent]],
        told: Callable[[], None] = lambda: None,
        *,
        pause_s: float,
    ) -> None:
        self._client = client
        self._keys = keys
        self._said = said
        self._pause_s = pause_s
        self._fence = fence
        self._watch = watch
        self._told = told
        self._due: dict[str, bytes | None] = {}
        self._woken = asyncio.Event()
        self._anew = False
        self._is_complete = False  # all that is there was seen

    def begin_anew(self) -> None:
        """What etcd has may be other than what was written: ends what runs, so that all is compared again."""
        self._anew = True
        self._woken.set()

    async def run(self) -> None:
        """Until something is wrong, or all is to be compared again: raises Away or Refused."""
        self._anew = self._is_complete = False
        stored = {key: it.value for key, it in (await self._client.read(self._keys)).entries.items()}
        following = asyncio.ensure_future(self._follow(stored))
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                if self._anew:
                    return
                began = time.monotonic()
                while self._due:
                    await self._write(stored)
                if self._is_complete:
                    self._told()
                await asyncio.sleep(max(self._pause_s, time.monotonic() - began))
        finally:
            following.cancel()
            await asyncio.wait([following])  # in which this may be cancelled itself, and has to end then
            if not following.cancelled():
                following.result()
            self._due.clear()

    async def _follow(self, stored: dict[str, bytes]) -> None:
        seen: set[str] | None = set()
        stream = self._watch()
        async with aclosing(stream) as events:  # type: ignore[type-var]  # they are generators
            async for event in events:
                if event.view is None:  # the snapshot is complete: what it lacks is over
                    for key in stored.keys() - (seen or set()):
                        self._due[key] = None
                    seen, self._is_complete = None, True
                else:
                    key = self._keys.first + key_name(event.view)
                    if seen is not None:
                        seen.add(key)
                    gone = event.change is Change.REMOVED
                    self._due[key] = None if gone else self._said(event.view, stored.get(key))
                self._woken.set()

    async def _write(self, stored: dict[str, bytes]) -> None:
        taken = dict(list(self._due.items())[:AT_ONCE])
        for key in taken:
            del self._due[key]
        changes: list[Put | Delete] = []
        for key, value in taken.items():
            if value is None and key in stored:
                changes.append(Delete(Keys(key, is_prefix=False)))
            elif value is not None and stored.get(key) != value:
                changes.append(Put(key, value))
        if not changes:
            return
        if await self._client.commit([self._fence()], changes) is None:
            raise Away("this node's name is not its own any more")
        for key, value in taken.items():
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value
