"""The state of this node's attachments, written back to etcd below its own name, for people who look at all nodes.

It is written some at a time and not more often than once a second, each attachment's latest; so that a node on which
thousands come and go costs etcd no more than a few transactions.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from urllib.parse import quote

from netplumb.models.status import AttachmentView, Change, WatchEvent
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put
from netplumb.reconciler.cluster.etcd.entries import Keys
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.keys import Layout

AT_ONCE = 100
"""etcd takes 128 operations in a transaction (--max-txn-ops)."""

PAUSE_S = 1.0


def key_name(view: AttachmentView) -> str:
    """Of what waits for a key that another holds, with its source."""
    name = f"{quote(view.key.workload_id, safe='')}/{view.key.if_name}"
    return f"{name}@{quote(view.attachment.source, safe='')}" if view.is_claim else name


def written(view: AttachmentView) -> bytes:
    attachment, spec = view.attachment, view.attachment.spec
    return json.dumps(
        {
            "workload_id": view.key.workload_id,
            "if_name": view.key.if_name,
            "phase": view.status.phase.value,
            "addresses": [str(it) for it in attachment.addresses],
            "namespace": spec.namespace or "",
            "labels": dict(spec.labels),
            "source": attachment.source,
            "generation": attachment.generation,
            "observed_generation": view.status.observed_generation,
            "unmet": [{"reason": it.reason, "message": it.message} for it in view.unmet],
        },
        sort_keys=True,
    ).encode()


class Reporting:
    """`watch` tells of all attachments, and then of each change; `fence` is what has to hold for anything to be
    written."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        node: str,
        fence: Callable[[], pb.Compare],
        watch: Callable[[], AsyncIterator[WatchEvent]],
    ) -> None:
        self._client = client
        self._keys = layout.statuses(node)
        self._fence = fence
        self._watch = watch
        self._due: dict[str, bytes | None] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until something is wrong: raises Away or Refused."""
        stored = {key: it.value for key, it in (await self._client.read(self._keys)).entries.items()}
        following = asyncio.ensure_future(self._follow(stored))
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                began = time.monotonic()
                while self._due:
                    await self._write(stored)
                await asyncio.sleep(max(PAUSE_S, time.monotonic() - began))
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            self._due.clear()

    async def _follow(self, stored: dict[str, bytes]) -> None:
        seen: set[str] | None = set()
        stream = self._watch()
        async with aclosing(stream) as events:  # type: ignore[type-var]  # they are generators
            async for event in events:
                if event.view is None:  # the snapshot is complete: what it lacks is over
                    for key in stored.keys() - (seen or set()):
                        self._due[key] = None
                    seen = None
                else:
                    key = self._keys.first + key_name(event.view)
                    if seen is not None:
                        seen.add(key)
                    self._due[key] = None if event.change is Change.REMOVED else written(event.view)
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
