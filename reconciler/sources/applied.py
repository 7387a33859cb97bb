"""The source behind Apply and Delete: documents that clients say, kept as those of a state file are, in one partition.

Each call is about some keys of it; two calls never change it at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel

from netplumb.models.attachment import APPLIED_SOURCE, Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import InvalidRequest, Superseded
from netplumb.models.networkpolicy import Manifest, ManifestKey, NetworkPolicy
from netplumb.models.statefile import Application, Applied, Deleted, Result, StateFile
from netplumb.reconciler.decide.policies.lost import has
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.sources.declared import DeclaredFiles
from netplumb.reconciler.sources.fileplan import FilePlan, read

_Wishes = Mapping[AttachmentKey, AttachmentSpec]
_Manifests = Mapping[ManifestKey, Manifest]
_Key = TypeVar("_Key", AttachmentKey, ManifestKey)
_Said = TypeVar("_Said", bound=BaseModel)


class AppliedDocuments:
    def __init__(self, desired: Desired, declared: DeclaredFiles, file_plan: FilePlan, loop: Loop) -> None:
        self._desired = desired
        self._declared = declared
        self._file_plan = file_plan
        self._loop = loop
        self._turn = asyncio.Lock()

    async def apply(self, application: Application, *, dry_run: bool) -> Sequence[Applied]:
        """Returns when it is recorded. Raises InvalidRequest, and then nothing was."""
        wished, manifests = await asyncio.to_thread(wished_in, application.files)
        async with self._turn:
            policies = await self._amended(
                manifests, prune=application.prune, dry_run=dry_run
            )  # before who they are about
            before = self._before()
            dropped = _dropped(before, wished, prune=application.prune)
            if dry_run:
                waiting = await self._rehearsed(before, wished, dropped)
            else:
                await self._declared.amend(APPLIED_SOURCE, tuple(wished.values()), dropped)
                waiting = {key: str(it[1]) for key in wished if (it := self._waiting(key)) is not None}
        return [*policies, *sorted(told(before, wished, dropped, waiting), key=lambda it: it.key)]

    async def _amended(self, manifests: _Manifests, *, prune: bool, dry_run: bool) -> list[Applied]:
        policies = self._desired.policies
        before = policies.of(APPLIED_SOURCE)
        dropped = _dropped(before, manifests, prune=prune)
        held = {key: policies.holder(key) for key in manifests}
        waiting = {key: f"it is {whose}'s" for key, whose in held.items() if whose not in ("", APPLIED_SOURCE)}
        if not dry_run:
            await self._declared.amend_policies(APPLIED_SOURCE, tuple(manifests.values()), dropped)
            if prune:
                policies.let_go()  # what is said now is all that is to be
        return sorted(told(before, manifests, dropped, waiting), key=lambda it: it.key)

    async def partitions(
        self, application: Application
    ) -> tuple[Mapping[str, Sequence[AttachmentSpec]], Mapping[str, Sequence[Manifest]]]:
        """What the source would declare then: attachments, and policies."""
        wished, manifests = await asyncio.to_thread(wished_in, application.files)
        before, policies = self._before(), self._desired.policies.of(APPLIED_SOURCE)
        return (
            {APPLIED_SOURCE: _after(before, wished, _dropped(before, wished, prune=application.prune))},
            {APPLIED_SOURCE: _after(policies, manifests, _dropped(policies, manifests, prune=application.prune))},
        )

    async def delete(
        self, files: Sequence[StateFile], keys: Sequence[AttachmentKey], within_s: float, *, dry_run: bool
    ) -> Deleted:
        """Returns when the interfaces are gone from the kernel."""
        wished, manifests = await asyncio.to_thread(wished_in, files) if files else ({}, {})
        meant = dict.fromkeys((*keys, *wished))
        async with self._turn:
            policies = self._desired.policies
            lost = {it.key: it.policy_key for it in manifests.values() if isinstance(it, NetworkPolicy)}
            lost = {key: it for key, it in lost.items() if has(policies.lost, it)}
            withdrawn = [key for key in manifests if key in policies.of(APPLIED_SOURCE) or key in lost]
            before = self._before()
            going = [key for key in meant if key in before]
            if not dry_run:
                await self._declared.amend(APPLIED_SOURCE, (), going)
                await self._declared.amend_policies(APPLIED_SOURCE, (), [key for key in withdrawn if key not in lost])
                policies.let_go(lost.values())
        if not dry_run:
            records = [it for key in going if (it := self._desired.attachments.get(key)) is not None and it.removing]
            await asyncio.gather(*(self._gone(it, within_s) for it in records))
        missing: tuple[AttachmentKey | ManifestKey, ...] = (
            *(key for key in meant if key not in before),
            *(key for key in manifests if key not in withdrawn),
        )
        return Deleted((*going, *withdrawn), missing)

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


def wished_in(files: Sequence[StateFile]) -> tuple[_Wishes, _Manifests]:
    """What files say, by key. Raises InvalidRequest."""
    wished: dict[AttachmentKey, AttachmentSpec] = {}
    manifests: dict[ManifestKey, Manifest] = {}
    where: dict[AttachmentKey | ManifestKey, str] = {}
    for content in read(files):
        for said in (*content.specs, *content.manifests):
            if said.key in where:
                raise InvalidRequest("", f"{said.key} is declared in {where[said.key]} and again in {content.name}")
            where[said.key] = content.name
        wished |= {spec.key: spec for spec in content.specs}
        manifests |= {it.key: it for it in content.manifests}
    if not where:
        raise InvalidRequest("files", "hold no document")
    return wished, manifests


def _dropped(before: Mapping[_Key, object], wished: Collection[_Key], *, prune: bool) -> list[_Key]:
    return [key for key in before if key not in wished] if prune else []


def _after(before: Mapping[_Key, _Said], wished: Mapping[_Key, _Said], dropped: Collection[_Key]) -> list[_Said]:
    return [said for key, said in {**before, **wished}.items() if key not in dropped]


def told(
    before: Mapping[_Key, _Said], wished: Mapping[_Key, _Said], dropped: Collection[_Key], waiting: Mapping[_Key, str]
) -> Iterator[Applied]:
    """What becomes of each key that is said, and of those that are dropped."""
    for key, said in wished.items():
        why = waiting.get(key, "")
        if (was := before.get(key)) is None:
            yield Applied(key, Result.WAITING if why else Result.CREATED, waiting=why)
        elif changes := tuple(_changes(was, said)):
            yield Applied(key, Result.CONFIGURED, changes, why)
        else:
            yield Applied(key, Result.UNCHANGED, waiting=why)
    yield from (Applied(key, Result.PRUNED) for key in dropped)


def _changes(was: BaseModel, becomes: BaseModel) -> Iterator[str]:
    old, new = (it.model_dump(mode="json", exclude_defaults=True, by_alias=True) for it in (was, becomes))
    for name, it in type(becomes).model_fields.items():
        field = it.alias or name
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
