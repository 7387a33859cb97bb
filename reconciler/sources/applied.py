"""The source behind Apply and Delete: documents that clients say, kept as those of a state file are, in one partition.

Each call is about some keys of it; two calls never change it at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from netplumb.models.attachment import APPLIED_SOURCE, Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import InvalidRequest, Superseded
from netplumb.models.statefile import Application, Applied, Deleted, Result, StateFile
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.sources.declared import DeclaredFiles
from netplumb.reconciler.sources.fileplan import FilePlan, read

_Wishes = Mapping[AttachmentKey, AttachmentSpec]


class AppliedDocuments:
    def __init__(self, desired: Desired, declared: DeclaredFiles, file_plan: FilePlan, loop: Loop) -> None:
        self._desired = desired
        self._declared = declared
        self._file_plan = file_plan
        self._loop = loop
        self._turn = asyncio.Lock()

    async def apply(self, application: Application, *, dry_run: bool) -> Sequence[Applied]:
        """Returns when it is recorded. Raises InvalidRequest, and then nothing was."""
        wished = await asyncio.to_thread(_wished, application.files)
        async with self._turn:
            before = self._before()
            dropped = _dropped(before, wished, prune=application.prune)
            if dry_run:
                waiting = await self._rehearsed(before, wished, dropped)
            else:
                await self._declared.amend(APPLIED_SOURCE, tuple(wished.values()), dropped)
                waiting = {key: str(it[1]) for key in wished if (it := self._waiting(key)) is not None}
        return sorted(_told(before, wished, dropped, waiting), key=lambda it: it.key)

    async def partition(self, application: Application) -> Mapping[str, Sequence[AttachmentSpec]]:
        """What the source would declare then."""
        wished, before = await asyncio.to_thread(_wished, application.files), self._before()
        return {APPLIED_SOURCE: _after(before, wished, _dropped(before, wished, prune=application.prune))}

    async def delete(
        self, files: Sequence[StateFile], keys: Sequence[AttachmentKey], within_s: float, *, dry_run: bool
    ) -> Deleted:
        """Returns when the interfaces are gone from the kernel."""
        meant = dict.fromkeys((*keys, *(await asyncio.to_thread(_wished, files) if files else ())))
        async with self._turn:
            before = self._before()
            going = [key for key in meant if key in before]
            if not dry_run:
                await self._declared.amend(APPLIED_SOURCE, (), going)
        if not dry_run:
            records = [it for key in going if (it := self._desired.attachments.get(key)) is not None and it.removing]
            await asyncio.gather(*(self._gone(it, within_s) for it in records))
        return Deleted(tuple(going), tuple(key for key in meant if key not in before))

    async def _gone(self, removing: Attachment, within_s: float) -> None:
        with suppress(Superseded):  # another wish has the key by now
            await self._loop.reached(removing, within_s)

    def _before(self) -> _Wishes:
        return dict(self._desired.claims.of(APPLIED_SOURCE))

    def _waiting(self, key: AttachmentKey) -> tuple[AttachmentSpec, Exception] | None:
        return self._desired.claims.found_waiting(APPLIED_SOURCE, key)

    async def _rehearsed(
        self, before: _Wishes, wished: _Wishes, dropped: Collection[AttachmentKey]
    ) -> Mapping[AttachmentKey, str]:
        found = await self._file_plan.rehearsed({APPLIED_SOURCE: _after(before, wished, dropped)})
        return {spec.key: str(error) for source, spec, error in found.waiting if source == APPLIED_SOURCE}


def _wished(files: Sequence[StateFile]) -> _Wishes:
    """Raises InvalidRequest."""
    wished: dict[AttachmentKey, AttachmentSpec] = {}
    where: dict[AttachmentKey, str] = {}
    for content in read(files):
        for spec in content.specs:
            if spec.key in wished:
                raise InvalidRequest("", f"{spec.key} is declared in {where[spec.key]} and again in {content.name}")
            wished[spec.key], where[spec.key] = spec, content.name
    if not wished:
        raise InvalidRequest("files", "hold no document")
    return wished


def _dropped(before: _Wishes, wished: _Wishes, *, prune: bool) -> list[AttachmentKey]:
    return [key for key in before if key not in wished] if prune else []


def _after(before: _Wishes, wished: _Wishes, dropped: Collection[AttachmentKey]) -> list[AttachmentSpec]:
    return [spec for key, spec in {**before, **wished}.items() if key not in dropped]


def _told(
    before: _Wishes, wished: _Wishes, dropped: Collection[AttachmentKey], waiting: Mapping[AttachmentKey, str]
) -> Iterator[Applied]:
    for key, spec in wished.items():
        why = waiting.get(key, "")
        if (was := before.get(key)) is None:
            yield Applied(key, Result.CREATED, waiting=why)
        elif changes := tuple(_changes(was, spec)):
            yield Applied(key, Result.CONFIGURED, changes, why)
        else:
            yield Applied(key, Result.UNCHANGED, waiting=why)
    yield from (Applied(key, Result.PRUNED) for key in dropped)


def _changes(was: AttachmentSpec, becomes: AttachmentSpec) -> Iterator[str]:
    old, new = (it.model_dump(mode="json", exclude_defaults=True) for it in (was, becomes))
    for field in AttachmentSpec.model_fields:
        if old.get(field) != new.get(field):
            yield f"{field}: {_words(old.get(field))} -> {_words(new.get(field))}"


def _words(value: object) -> str:
    """As people write it in a document of one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_words(it)}" for key, it in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_words, value)) + "]"
        case bool():
            return str(value).lower()
        case None | "":
            return "none"
        case _:
            return str(value)
