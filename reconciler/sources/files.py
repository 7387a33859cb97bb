"""The source of desired state that people write: a directory of state files, watched.

Each file is a source of its own, `file/<name>`, and replaces only its own partition. Events carry no decisions:
whatever happens only causes a new look at the whole directory, and what follows from a look depends on what it saw.

What is promised:
- A file that cannot be read or parsed keeps its last good content and says why. So does one that never rests.
- A look counts only once nothing has moved for a moment, and a file only once nobody has it open for writing: one that
  is just being written, however slowly, or a rename caught in the middle, is never taken for a removal.
- A file that takes long to read waits longer for its next turn the longer it took, however often it is written.
- A directory that is missing or unreadable removes nothing.
- What is new is declared before what vanished is removed, so that a renamed file keeps its attachments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import Change, awatch

from netplumb.models.attachment import FILE_SOURCE_PREFIX, AttachmentKey, AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.models.networkpolicy import Manifest
from netplumb.reconciler.pacing.rests import rest_s
from netplumb.reconciler.sources import directory as directories
from netplumb.reconciler.sources.directory import FileContent, Listing, Signature

SETTLE_S = 0.05
POLL_S = 2.0
_LOOKS = 20  # a second of restlessness, then the files at rest are taken without the others
_WATCH_STEP_MS = 200  # watchfiles looks so often whether something was told
_WATCH_DEBOUNCE_MS = 400


class Desired(Protocol):
    """What a state file's content goes to."""

    def declared_sources(self) -> Collection[str]:
        """The sources `file/<name>` that anything is known of, also from before a restart."""

    async def declare(self, source: str, specs: Sequence[AttachmentSpec]) -> None:
        """Replaces the source's partition; without specs, removes it. Others have their turn meanwhile."""

    async def declare_policies(self, partitions: Mapping[str, Sequence[Manifest]]) -> None:
        """The same of the network policies and namespaces of several, at once: all of them, or none."""

    def broken(self, source: str, message: str) -> None:
        """The source keeps its last good content, and why; an empty message takes that back."""

    def loaded(self) -> None:
        """Every file has been looked at once."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look saw. `restless` files changed while it was taken, and what is to be told of each; `complete` is
    whether the names did not."""

    listing: Listing
    contents: Mapping[str, FileContent]
    restless: Mapping[str, str]
    complete: bool

    @property
    def puts_off(self) -> bool:
        return any(it.is_put_off for it in self.contents.values())


class StateFiles:
    """Keeps `desired` as the directory says. `run` is the whole of it; `scan` is one round."""

    def __init__(self, directory: Path, desired: Desired) -> None:
        self._directory = directory.absolute()  # so that what watchfiles tells of can be compared with it
        self._desired = desired
        self._digests: dict[str, bytes] = {}
        self._keys: dict[str, frozenset[AttachmentKey]] = {}
        self._broken: dict[str, str] = {}
        self._loaded = False
        self._unfinished = False
        self._rests_until: dict[str, float] = {}
        """When files that took long are read again, on the monotonic clock."""
        self._listing: Listing | None = None
        self._woken = asyncio.Event()
        self._watch_ended = asyncio.Event()

    def wake(self) -> None:
        """Causes a look, soon."""
        self._woken.set()

    async def run(self) -> None:
        """Loads the files, then follows their changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._poll())
            while True:
                self._woken.clear()
                await self.scan()
                await self._woken.wait()

    async def scan(self) -> None:
        """Takes one look at the directory and declares what it says."""
        try:
            look = await self._settled_look()
        except OSError as error:
            self._listing = None
            self._watch_ended.set()
            self._tell(FILE_SOURCE_PREFIX, f"{self._directory}: {error.strerror}")
            return
        if self._listing is not None and self._listing.directory != look.listing.directory:
            self._watch_ended.set()
        self._listing = look.listing
        self._tell(FILE_SOURCE_PREFIX, "")
        self._unfinished = bool(look.restless) or look.puts_off or not look.complete
        for name, problem in look.restless.items():  # told before others are declared, which may take long
            self._digests.pop(name, None)
            self._tell(_source(name), problem)
            await asyncio.sleep(0)  # there may be thousands, here and where files are broken
        # Before any attachment of any file: none may come up without the policies that are about it.
        good = {_source(name): it.manifests for name, it in look.contents.items() if not it.problem}
        are_declared = await self._declare_policies(good)
        for name in self._in_order(look):
            if are_declared or look.contents[name].problem:
                await self._take(name, look.contents[name])
                await asyncio.sleep(0)
        if look.complete:
            await self._remove_vanished(look.listing)
            if not self._loaded:
                self._loaded = True
                self._desired.loaded()

    async def _settled_look(self) -> _Look:
        """A look during which, and for a moment before which, nothing moved; or the best of several."""
        after = await asyncio.to_thread(directories.listing, self._directory)
        contents: dict[str, FileContent] = {}
        digests = dict(self._digests)
        for _ in range(_LOOKS):
            before = after
            await asyncio.sleep(SETTLE_S)
            # What one look has parsed the next need not parse again, however long another file keeps from resting.
            found = await asyncio.to_thread(directories.contents, self._directory, digests, self._due(before))
            contents |= found
            for name, content in found.items():
                _keep(digests, name, content.digest)
                if rests_s := rest_s(content.cost_s):
                    self._rests_until[name] = time.monotonic() + rests_s
            after = await asyncio.to_thread(directories.listing, self._directory)
            if before == after:
                break
        restless = {
            # What cannot be read says why, rest or not: of a link that leads out, it is what it leads to that moves.
            name: unread.problem
            if (unread := contents.get(name)) is not None and unread.digest is None and not unread.is_put_off
            else f"{name}: is being written to without a pause"
            for name, seen in after.files.items()
            if before.files.get(name) != seen
        }
        rested = {name: it for name, it in contents.items() if name in after.files and name not in restless}
        complete = before.directory == after.directory and before.files.keys() == after.files.keys()
        return _Look(after, rested, restless, complete)

    def _due(self, seen: Listing) -> Callable[[str, Signature], bool]:
        """Whether a file is to be read now: it is at rest, and its last reading is paid for."""
        now = time.monotonic()
        self._rests_until = {name: until for name, until in self._rests_until.items() if until > now}
        resting = frozenset(self._rests_until)
        return lambda name, signature: name not in resting and seen.files.get(name) == signature

    def _in_order(self, look: _Look) -> list[str]:
        """Files that take over what another file of this look gives up come first: the key then changes hands."""
        given_up: set[AttachmentKey] = set()
        for name, content in look.contents.items():
            if not content.problem:
                given_up |= self._keys.get(name, frozenset()) - {spec.key for spec in content.specs}
        return sorted(look.contents, key=lambda name: given_up.isdisjoint(s.key for s in look.contents[name].specs))

    async def _take(self, name: str, content: FileContent) -> None:
        source = _source(name)
        if not content.problem and not await self._declare(source, content.specs):
            return
        self._tell(source, content.problem)
        _keep(self._digests, name, content.digest)
        if not content.problem:
            self._keys[name] = frozenset(spec.key for spec in content.specs)

    async def _remove_vanished(self, listing: Listing) -> None:
        declared = set(self._desired.declared_sources())
        known = declared | {_source(name) for name in self._digests} | self._broken.keys()
        vanished = sorted(known - {_source(name) for name in listing.files} - {FILE_SOURCE_PREFIX})
        gone = [it for it in vanished if it not in declared or await self._declare(it, ())]
        if not await self._declare_policies({it: () for it in gone if it in declared}):
            gone = [it for it in gone if it not in declared]
        for source in gone:
            name = source.removeprefix(FILE_SOURCE_PREFIX)
            self._digests.pop(name, None)
            self._keys.pop(name, None)
            self._tell(source, "")

    async def _declare(self, source: str, specs: Sequence[AttachmentSpec]) -> bool:
        return await self._taken((source,), self._desired.declare(source, specs))

    async def _declare_policies(self, partitions: Mapping[str, Sequence[Manifest]]) -> bool:
        """All at once: what follows from policies follows from all of them, and is made anew with each change."""
        return not partitions or await self._taken(partitions, self._desired.declare_policies(partitions))

    async def _taken(self, sources: Iterable[str], declaring: Awaitable[None]) -> bool:
        """Whether it was taken. What desired state could not take is tried again with the next poll."""
        try:
            await declaring
        except NetplumbError as error:
            self._unfinished = True
            for source in sources:
                self._tell(source, str(error))
                # Part of it may be done, so that even what was said before is to be said again.
                self._digests.pop(source.removeprefix(FILE_SOURCE_PREFIX), None)
            return False
        return True

    def _tell(self, source: str, message: str) -> None:
        if self._broken.get(source, "") == message:
            return
        if message:
            self._broken[source] = message
        else:
            del self._broken[source]
        self._desired.broken(source, message)

    async def _watch(self) -> None:
        """Wakes on what inotify tells. What it does not tell, or if it cannot watch, the poll finds."""
        while True:
            self._watch_ended.clear()
            try:
                async for changes in awatch(
                    self._directory,
                    watch_filter=None,
                    recursive=False,
                    step=_WATCH_STEP_MS,
                    debounce=_WATCH_DEBOUNCE_MS,
                    stop_event=self._watch_ended,
                ):
                    self.wake()
                    if (Change.deleted, str(self._directory)) in changes:
                        break  # what is made anew at the path may have the same inode number
            except* (OSError, RuntimeError):
                pass  # watchfiles raises them in groups; the latter at every name that is not UTF-8
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        """Finds what inotify does not tell: a directory that appears or is swapped by a symlink above or below it."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                listing = await asyncio.to_thread(directories.listing, self._directory)
            except OSError:
                listing = None
            if self._unfinished or listing != self._listing:
                self.wake()


def _keep(digests: dict[str, bytes], name: str, digest: bytes | None) -> None:
    """What cannot be read has no digest. Once it can be again it must be taken, even if it says what it said before."""
    if digest is None:
        digests.pop(name, None)
    else:
        digests[name] = digest


def _source(name: str) -> str:
    """A name that does not print, which is refused, is told of in a form that does."""
    return FILE_SOURCE_PREFIX + (name if name.isprintable() else repr(name))
