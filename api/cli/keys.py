"""Which attachment a word on the command line means: WORKLOAD, WORKLOAD/IF as `check` prints it, or the beginning of an
id that only one workload has.

An interface's name holds no slash, so that the last one of a word ends the workload's id; but an id may hold one too.
What is there decides, and a word that is there as it stands never passes for the beginning of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import NotFound
from netplumb.api.defaults import DEFAULT_IF_NAME
from netplumb.api.v1 import netplumb_pb2 as pb

TOLD_MAX = 5
ALL_OF_THEM = ""
"""In place of an interface's name."""
_MADE_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{4,}")
"""An id that a runtime made. They are all of one length, so that a whole one is the beginning of no other; of names
that people gave, such as web-1 and web-10, one may be."""
_MADE_LEAST = 4


class Key(NamedTuple):
    workload_id: str
    if_name: str

    def __str__(self) -> str:
        return f"{self.workload_id}/{self.if_name}" if self.if_name else self.workload_id


class Unclear(Exception):
    """A word means more than one attachment; the message says which."""


class Contradiction(Unclear):
    """A word names one interface, and what is said beside it another."""

    def __init__(self, word: str, if_name: str) -> None:
        workload_id, _, name = word.rpartition("/")
        super().__init__(
            f"{word} means the interface {name} of {workload_id}, and --if-name says {if_name}: leave one of them out"
        )


class Missing(Unclear):
    """A word means none; `beside` are those that it may have been meant for."""

    def __init__(self, key: Key, beside: Sequence[str] = ()) -> None:
        super().__init__(f"no attachment {key}" + (f"; there is {_told(beside)}" if beside else ""))
        self.beside = beside


def readings(word: str, if_name: str, implied: str = DEFAULT_IF_NAME) -> list[Key]:
    """What the word may mean as it stands, the likeliest first. An interface that is named beside it ends the doubt;
    where none is named, the implied one is meant."""
    workload_id, _, name = word.rpartition("/")
    if if_name:
        return [Key(word, if_name), *([Key(workload_id, name)] if workload_id and name == if_name else [])]
    split = [Key(workload_id, name)] if workload_id and name else []
    return [*split, Key(word, implied)]


async def found(client: AsyncClient, word: str, if_name: str) -> Key:
    """The attachment that is meant. Raises Unclear."""
    return await _standing(client, word, if_name) or meant(word, if_name, [it async for it in client.list()])


async def workload(client: AsyncClient, word: str) -> Key:
    """The same where all interfaces of a workload are meant unless one is named: then the key names none. Raises
    Unclear."""
    return meant(word, "", [it async for it in client.list()], implied=ALL_OF_THEM)


async def of_events(client: AsyncClient, word: str, *, may_come: bool) -> str:
    """What the word means among what happened, also to those that are attached no more. Raises Unclear, unless what is
    not there may come."""
    if not word or [it async for it in client.events(word, most=1)]:
        return word
    happened = [pb.Attachment(workload_id=it.workload_id, if_name=it.if_name) async for it in client.events()]
    try:
        return str(meant(word, "", [*happened, *[it async for it in client.list()]], implied=ALL_OF_THEM))
    except Missing:
        if may_come:
            return word
        raise


async def to_detach(client: AsyncClient, word: str, if_name: str) -> Key:
    """The same for what takes it away: of a name that people gave, a part is not enough, since who detaches web-1 again
    must not meet web-10. Raises Unclear."""
    key = await _standing(client, word, if_name)
    return key or meant(word, if_name, [it async for it in client.list()], made_ids_only=True)


async def to_attach(client: AsyncClient, request: pb.AttachRequest) -> pb.AttachRequest:
    """The request with WORKLOAD/IF for what it says, unless there is a workload of that id."""
    if "/" not in request.workload_id:
        return request
    word, if_name = request.workload_id, request.netns.if_name
    if (key := await _standing(client, word, if_name)) is None:
        if if_name:
            _check_agreement(word, if_name, [it async for it in client.list()])
        key = readings(word, if_name)[0]
    made = pb.AttachRequest()
    made.CopyFrom(request)
    made.workload_id, made.netns.if_name = key
    return made


async def _standing(client: AsyncClient, word: str, if_name: str) -> Key | None:
    """The first of the readings that is there."""
    for key in readings(word, if_name):
        try:
            await client.get(*key)
        except NotFound:
            continue
        return key
    return None


def meant(
    word: str,
    if_name: str,
    there: Iterable[pb.Attachment],
    *,
    implied: str = DEFAULT_IF_NAME,
    made_ids_only: bool = False,
) -> Key:
    """The attachment among these that a part of an id means, where none is as the word stands. Raises Unclear."""
    listed = list(there)
    _check_agreement(word, if_name, listed)
    asked = readings(word, if_name, implied)
    for key in asked:
        if any(it.workload_id == key.workload_id for it in listed):
            return _of_workload(key, listed)
    for key in asked:
        begun = {it.workload_id for it in listed if _begins(key.workload_id, it, made_ids_only=made_ids_only)}
        if len(begun) > 1:
            raise Unclear(f"{key.workload_id!r} may be {_told(sorted(begun))}: say more of it")
        for workload_id in begun:
            return _of_workload(Key(workload_id, key.if_name), listed)
    near = {str(Key(it.workload_id, it.if_name)) for key in asked for it in listed if _begins(key.workload_id, it)}
    raise Missing(asked[0], sorted(near))


def _check_agreement(word: str, if_name: str, there: Iterable[pb.Attachment]) -> None:
    """Raises Contradiction where the word names an interface of a workload that is there, and another is named beside
    it. An id may well hold a slash, so that where there is no such workload it is one."""
    workload_id, _, name = word.rpartition("/")
    ids = {id_ for it in there for id_ in (it.workload_id, it.container_id)}
    is_there = any(id_ == workload_id or begins_made(workload_id, id_) for id_ in ids if workload_id)
    if if_name and name != if_name and is_there and word not in ids:
        raise Contradiction(word, if_name)


def _of_workload(key: Key, there: Sequence[pb.Attachment]) -> Key:
    """The key itself, if the workload has that interface."""
    names = sorted({it.if_name for it in there if it.workload_id == key.workload_id})
    if key.if_name != ALL_OF_THEM and key.if_name not in names:
        raise Missing(key, [str(Key(key.workload_id, name)) for name in names])
    return key


def _begins(part: str, it: pb.Attachment, *, made_ids_only: bool = False) -> bool:
    """Whether it begins the workload's id, or the container's."""
    ids = (it.workload_id, it.container_id)
    if made_ids_only:
        return any(begins_made(part, id_) for id_ in ids)
    return bool(part) and any(id_.startswith(part) for id_ in ids)


def begins_made(part: str, id_: str) -> bool:
    """Whether it is enough of an id that a runtime made."""
    return len(part) >= _MADE_LEAST and id_.startswith(part) and _MADE_ID.fullmatch(id_) is not None


def _told(names: Sequence[str]) -> str:
    more = f" or one of {len(names) - TOLD_MAX} more" if len(names) > TOLD_MAX else ""
    return f"{' or '.join(names[:TOLD_MAX])}{more}"
