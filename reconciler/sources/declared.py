"""What documents declare, in state files or applied, on its way into desired state; and what is wrong with which file.

A file may declare thousands of attachments, and as many may wait for an address, so this is done in slices, between
which others have their turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import structlog

from netplumb.models.attachment import FILE_SOURCE_PREFIX, AttachmentKey, AttachmentSpec
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.models.ports import PortMapping
from netplumb.models.status import Condition
from netplumb.models.words import several
from netplumb.reconciler.desired.declarations import Declarations

SLICE_S = 0.002
TOLD_MAX = 100
"""Broken files that Status tells of one by one: its answer has to fit the 4 MiB that gRPC clients take."""

log = structlog.get_logger(__name__)


class DeclaredFiles:
    """`first_loaded` is called once, when every file has been read for the first time; `look` looks at ports of the
    node before they are mapped. Policies change when the last that did have `rested`."""

    def __init__(
        self,
        declarations: Declarations,
        first_loaded: Callable[[], None],
        look: Callable[[Sequence[PortMapping]], Awaitable[None]],
        rested: Callable[[], Awaitable[None]],
    ) -> None:
        self._declarations = declarations
        self._look = look
        self._rested = rested
        self._first_loaded = first_loaded
        self._broken: dict[str, tuple[str, float]] = {}
        self._let_go = asyncio.Event()
        self._is_judged_anew = False

    def judge_anew(self) -> None:
        """What may be wished, or what comes of a wish, is another by the settings."""
        self._is_judged_anew = True
        self._let_go.set()

    def let_go(self) -> None:
        """Something was let go that a claim may wait for."""
        self._let_go.set()

    async def run(self) -> None:
        """Lets claims have what they wait for once it is let go, until cancelled."""
        await _in_slices(self._declarations.resuming())
        while True:
            await self._let_go.wait()
            self._let_go.clear()
            started = time.monotonic()
            anew, self._is_judged_anew = self._is_judged_anew, False
            await _in_slices(self._declarations.claiming_anew() if anew else self._declarations.settling())
            # Where thousands wait and clients come and go, to try them all must not take up the time of those.
            await asyncio.sleep(time.monotonic() - started)

    def declared_sources(self) -> Collection[str]:
        """Those of files."""
        sources = {*self._declarations.sources, *self._declarations.policies.sources}
        return [it for it in sources if it.startswith(FILE_SOURCE_PREFIX)]

    async def declare_policies(self, partitions: Mapping[str, Sequence[Manifest]]) -> None:
        policies = self._declarations.policies
        if not policies.are_said(partitions):
            await self._rested()
            policies.replace(partitions)

    def declared_by(self, source: str) -> tuple[Mapping[AttachmentKey, AttachmentSpec], Mapping[ManifestKey, Manifest]]:
        """What a source declares now."""
        return self._declarations.claims_of(source), self._declarations.policies.of(source)

    async def amend_policies(self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> None:
        policies = self._declarations.policies
        if not policies.says(source, manifests, dropped):
            await self._rested()
            policies.amend(source, manifests, dropped)

    async def declare(self, source: str, specs: Sequence[AttachmentSpec]) -> None:
        await self._look([mapping for spec in specs for mapping in spec.port_mappings])
        await _in_slices(self._declarations.declaring(source, specs))

    async def amend(self, source: str, specs: Sequence[AttachmentSpec], dropped: Sequence[AttachmentKey]) -> None:
        """Changes a partition by what comes and what goes, and leaves the rest of it."""
        await self._look([mapping for spec in specs for mapping in spec.port_mappings])
        await _in_slices(self._declarations.amending(source, specs, dropped))

    def broken(self, source: str, message: str) -> None:
        """A file cannot be used as it is; its last good content stays in force. An empty message: it can be again."""
        if message:
            before, since = self._broken.get(source, ("", time.time()))
            if before != message:
                log.warning("a state file keeps its last good content", source=source, cause=message)
            self._broken[source] = (message, since)
        else:
            self._broken.pop(source, None)

    def loaded(self) -> None:
        self._first_loaded()

    def conditions(self) -> tuple[Condition, ...]:
        broken = sorted((source, *it) for source, it in self._broken.items())
        told = [(f"{source}: {message}", since) for source, message, since in broken[:TOLD_MAX]]
        if rest := broken[TOLD_MAX:]:
            told.append((f"and {len(rest)} more", min(since for *_, since in rest)))
        unreadable = (Condition("StateFileBroken", True, "Unreadable", message, since) for message, since in told)
        policies = self._declarations.policies
        waiting = (
            Condition(
                "PolicyWaiting",
                True,
                "AlreadyHeld",
                f"{source}: {key} is {holder}'s",
                policies.waits_since(source, key),
            )
            for source, key, holder in islice(policies.waiting, TOLD_MAX)
        )
        return (*unreadable, *waiting)


def unread(sources: Collection[str], since: float) -> Iterator[Condition]:
    """These are known from before, and since the start no setting says where state files are."""
    if sources:
        words = (
            f"{several(sorted(sources), TOLD_MAX)}: what they declared stays as it was, since the setting state_files "
            "is gone; set it again, to an empty directory where all of that is to go"
        )
        yield Condition("StateFilesUnread", True, "NotSet", words, since)


async def _in_slices(steps: Iterable[None]) -> None:
    ends = time.monotonic() + SLICE_S
    for _ in steps:
        if time.monotonic() > ends:
            await asyncio.sleep(0)
            ends = time.monotonic() + SLICE_S
    await asyncio.sleep(0)
