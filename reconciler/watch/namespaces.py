"""Watches the directory of named namespaces: one that a wish waits for may appear there, and of a path that is gone
while its namespace lives the kernel tells nobody.

Whom a name concerns is told by the last part of the wishes' paths, so that a symlink above makes no difference. What
lies elsewhere is not watched; whoever waits for it looks again now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Set
from pathlib import Path

import structlog

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.kernel.inotify import Names, WatchedDirectory

GATHER_S = 0.02  # many come and go together
REWATCH_S = 1.0
LOOK_AGAIN_S = (0.2, 1.0)
"""After a name was told of: it comes before its namespace is mounted, of which nothing tells."""

log = structlog.get_logger(__name__)


class NamespaceWatch:
    """`unsettled` are those who are not as desired or were not reached, and `mark` is called with whom a change may
    concern."""

    def __init__(
        self,
        directory: Path,
        desired: Desired,
        unsettled: Callable[[], Collection[AttachmentKey]],
        mark: Callable[[AttachmentKey], None],
    ) -> None:
        self._directory = directory
        self._desired = desired
        self._unsettled = unsettled
        self._mark = mark

    async def run(self) -> None:
        """Runs until cancelled."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        later = asyncio.get_running_loop().call_later
        later(REWATCH_S, self._mark_unsettled)  # what came before the watch began
        while True:
            try:
                async for names in told_of(self._directory):
                    named = names.appeared | names.gone
                    self._mark_unsettled(named)
                    for after_s in LOOK_AGAIN_S:
                        later(after_s, self._mark_unsettled, named)
                    for key in [key for name in names.gone for key in self._desired.at_name(name)]:
                        self._mark(key)
            except OSError as error:
                log.warning("namespaces are not watched for a moment", cause=str(error))
            await asyncio.sleep(REWATCH_S)
            self._mark_unsettled()

    def _mark_unsettled(self, names: Set[str] | None = None) -> None:
        """Those whose paths have one of these names; all of them without names."""
        if names is None:
            for key in self._desired.attachments.keys() & self._unsettled():
                self._mark(key)
        else:
            unsettled = self._unsettled()
            for key in [key for name in names for key in self._desired.at_name(name) if key in unsettled]:
                self._mark(key)


async def told_of(directory: Path) -> AsyncIterator[Names]:
    """Which names come and go there, without end. Raises OSError when it can be watched no more."""
    events, told = asyncio.get_running_loop(), asyncio.Event()
    with WatchedDirectory(directory) as watched:
        try:
            while True:
                events.add_reader(watched.fileno(), told.set)
                await told.wait()
                events.remove_reader(watched.fileno())
                await asyncio.sleep(GATHER_S)
                told.clear()
                yield watched.read()
        finally:
            events.remove_reader(watched.fileno())
