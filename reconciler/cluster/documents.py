"""The source `cluster`: documents in etcd that are meant for this node, by the rules of state files.

Documents for this node alone are below its own name; policies and namespaces are where all nodes read them. All of them
are one partition of desired state. A document that cannot be used keeps its last good content, and its condition says
why. While it is not known what that content was, as after a start, nothing of the partition is removed, and a condition
says so. Documents are parsed in a thread: one of the largest allowed size takes seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netplumb.models.attachment import CLUSTER_SOURCE, AttachmentKey, AttachmentSpec
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.reconciler.cluster.etcd.entries import Entry, shown
from netplumb.reconciler.sources.statefile import NOTHING_DECLARED, Declared, StateFileError, declared

ONE_NODES = "an attachment is one node's: it belongs below nodes/NODE/attachments/"
NOTHING_GOES = "what it said before is not known, so until it can be used nothing that documents wanted is taken away"
ALL_NODES = "policies and namespaces are all nodes': they belong below shared/documents/"


class Desired(Protocol):
    """What documents go to. Raises StoreUnwritable, and then all is to be said again."""

    async def amend(self, source: str, specs: Sequence[AttachmentSpec], dropped: Sequence[AttachmentKey]) -> None: ...

    async def amend_policies(
        self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]
    ) -> None: ...

    def declared_by(self, source: str) -> tuple[Mapping[AttachmentKey, AttachmentSpec], Mapping[ManifestKey, Manifest]]:
        """What it declares now, also from before a restart."""

    def broken(self, source: str, message: str) -> None: ...


@dataclass(slots=True)
class _Document:
    """`good` is its last content that could be used, None where that is not known."""

    modified: int
    good: Declared | None = None


@dataclass(slots=True)
class _Wanted:
    attachments: dict[AttachmentKey, AttachmentSpec] = field(default_factory=dict)
    manifests: dict[ManifestKey, Manifest] = field(default_factory=dict)


class ClusterDocuments:
    """`told` is called with each document that is broken, or is not any more, and why."""

    def __init__(self, desired: Desired, told: Callable[[str, str], None] = lambda *_: None) -> None:
        self._desired = desired
        self._told = told
        self._documents: dict[str, _Document] = {}
        self._unusable: dict[str, str] = {}
        self._broken: dict[str, str] = {}
        self._has_begun = False

    async def take(self, own: Mapping[str, Entry], shared: Mapping[str, Entry]) -> None:
        """Takes documents, by their names, for what is wanted from now on."""
        names = {
            **{f"own/{name}": it for name, it in own.items()},
            **{f"all/{name}": it for name, it in shared.items()},
        }
        for name in [it for it in self._documents if it not in names]:
            del self._documents[name]
            self._unusable.pop(name, None)
            self._tell(name, "")
        unread = {name: entry for name, entry in names.items() if self._is_new(name, entry)}
        said = await asyncio.to_thread(_read, unread) if unread else {}
        for name, it in said.items():
            self._keep(name, unread[name], it)
        self._has_begun = True
        wanted = self._wanted()
        complete = all(it.good is not None for it in self._documents.values())
        attachments, manifests = self._desired.declared_by(CLUSTER_SOURCE)
        # Before any attachment: none may come up without the policies that are about it.
        await self._desired.amend_policies(
            CLUSTER_SOURCE,
            list(wanted.manifests.values()),
            [key for key in manifests if key not in wanted.manifests] if complete else (),
        )
        changed = [spec for key, spec in wanted.attachments.items() if attachments.get(key) != spec]
        dropped = [key for key in attachments if key not in wanted.attachments] if complete else []
        if changed or dropped:
            await self._desired.amend(CLUSTER_SOURCE, changed, dropped)

    def _is_new(self, name: str, entry: Entry) -> bool:
        known = self._documents.get(name)
        return known is None or known.modified != entry.modified

    def _keep(self, name: str, entry: Entry, said: Declared | str) -> None:
        if not isinstance(said, str):
            self._documents[name] = _Document(entry.modified, said)
            self._unusable.pop(name, None)
            return
        known = self._documents.get(name)
        good = known.good if known is not None else (NOTHING_DECLARED if self._has_begun else None)
        self._documents[name] = _Document(entry.modified, good)
        self._unusable[name] = said if good is not None else f"{said}; {NOTHING_GOES}"

    def _wanted(self) -> _Wanted:
        """What all documents say, in the order of their names. Where two say something of one key, the first does."""
        wanted = _Wanted()
        whose: dict[AttachmentKey | ManifestKey, str] = {}
        for name in sorted(self._documents):
            message = self._unusable.get(name, "")
            if (good := self._documents[name].good) is not None:
                said = {it.spec.key: it.spec for it in good.attachments}
                manifests = {it.manifest.key: it.manifest for it in good.manifests}
                both: list[AttachmentKey | ManifestKey] = [*said, *manifests]
                twice = [key for key in both if whose.setdefault(key, name) != name]
                if twice and not message:
                    message = f"{twice[0]} is declared by {_words(whose[twice[0]])} too, which counts"
                wanted.attachments |= {key: it for key, it in said.items() if whose[key] == name}
                wanted.manifests |= {key: it for key, it in manifests.items() if whose[key] == name}
            self._tell(name, message)
        return wanted

    def _tell(self, name: str, message: str) -> None:
        if self._broken.get(name, "") == message:
            return
        if message:
            self._broken[name] = message
        else:
            del self._broken[name]
        self._desired.broken(f"{CLUSTER_SOURCE}/{_words(name)}", message)
        self._told(name, message)


def _words(name: str) -> str:
    """A document as people call it."""
    return shown(name.partition("/")[2])


def _read(documents: Mapping[str, Entry]) -> dict[str, Declared | str]:
    return {name: _said(name, entry.value) for name, entry in documents.items()}


def _said(name: str, content: bytes) -> Declared | str:
    """What a document says, or why it cannot be used."""
    kind, rest = name.partition("/")[0], _words(name)
    try:
        said = declared(rest, content)
    except StateFileError as error:
        return str(error)
    misplaced = said.attachments if kind == "all" else said.manifests
    return f"{rest}: {ONE_NODES if kind == 'all' else ALL_NODES}" if misplaced else said
