"""Documents that people write into etcd for another node, or for all nodes: each under a key of its own, or within a
key in which someone put several, the others of which stay as they are.

What is asked for is compared with what is there, and written in transactions that succeed only if none of it has
changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.clustersettings import ClusterSettings, is_node_name
from netplumb.models.errors import NetplumbError
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.models.statefile import Applied, Deleted, StateFile
from netplumb.reconciler.cluster.administration import client
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put, absent, unchanged
from netplumb.reconciler.cluster.etcd.entries import Entry, Keys, shown
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import EndpointRecord, read
from netplumb.reconciler.sources.applied import told, wished_in
from netplumb.reconciler.sources.statefile import StateFileError, declared

AT_ONCE = 50
"""Documents in a transaction; each takes a comparison and an operation of the 128 that etcd allows."""


_Name: TypeAlias = AttachmentKey | ManifestKey
_Said: TypeAlias = Mapping[_Name, AttachmentSpec | Manifest]


class ChangedMeanwhile(NetplumbError):
    """Somebody else wrote to the same documents."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Documents, by their names, that are deleted, and those that are not there."""

    deleted: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _There:
    """What etcd has now: its keys, and what they say, in the order of the keys. Of two that say something of one name
    the first counts."""

    entries: Mapping[str, Entry]
    said: Mapping[str, _Said]

    @property
    def wanted(self) -> dict[_Name, AttachmentSpec | Manifest]:
        return {name: it for said in reversed(list(self.said.values())) for name, it in said.items()}

    def where(self, name: _Name) -> list[str]:
        return [key for key, said in self.said.items() if name in said]


class Documents:
    """Those of one node, and those of all. Once it was asked, it is known whether there was ever such a node, and which
    documents nobody can read."""

    def __init__(self, settings: ClusterSettings, node: str) -> None:
        self._settings = settings
        self._layout = Layout(settings.prefix)
        self._node = node
        self.node_is_known = False
        self.unread: list[str] = []

    async def apply(self, files: Sequence[StateFile], *, dry_run: bool) -> list[Applied]:
        """Raises InvalidRequest, ChangedMeanwhile or EtcdError."""
        wished, manifests = wished_in(files)
        async with client(self._settings) as etcd:
            there = await self._there(etcd)
            wanted = there.wanted
            if not dry_run:
                changes: dict[str, _Said] = {}
                asked: list[tuple[_Name, AttachmentSpec | Manifest]] = [*wished.items(), *manifests.items()]
                for name, it in asked:
                    if wanted.get(name) != it:
                        key = next(iter(there.where(name)), self._key(name))
                        changes[key] = {**changes.get(key, there.said.get(key, {})), name: it}
                await self._write(etcd, there, changes)
        return [
            *sorted(told(_manifests(wanted), manifests, (), {}), key=lambda it: it.key),
            *sorted(told(_attachments(wanted), wished, (), {}), key=lambda it: it.key),
        ]

    async def delete(self, files: Sequence[StateFile], keys: Sequence[AttachmentKey], *, dry_run: bool) -> Deleted:
        """Raises InvalidRequest, ChangedMeanwhile or EtcdError."""
        wished, manifests = wished_in(files) if files else ({}, {})
        meant: list[_Name] = list(dict.fromkeys((*keys, *wished, *manifests)))
        async with client(self._settings) as etcd:
            there = await self._there(etcd)
            going = {name for name in meant if there.where(name)}
            if not dry_run:
                touched = {key: said for key, said in there.said.items() if not going.isdisjoint(said)}
                left = {key: {it: said[it] for it in said if it not in going} for key, said in touched.items()}
                await self._write(etcd, there, left)
        return Deleted(tuple(it for it in meant if it in going), tuple(it for it in meant if it not in going))

    async def delete_documents(self, names: Sequence[str], *, dry_run: bool) -> Withdrawn:
        """Of this node, or else of all nodes, whatever they say, as nobody may be able to read it. Raises
        ChangedMeanwhile or EtcdError."""
        async with client(self._settings) as etcd:
            there = await self._there(etcd)
            called = {self._words(key): key for key in reversed(list(there.entries))}
            keys = {name: called[name] for name in names if name in called}
            if not dry_run:
                await self._write(etcd, there, {key: {} for key in keys.values()})
        return Withdrawn(tuple(keys), tuple(it for it in dict.fromkeys(names) if it not in keys))

    async def _there(self, etcd: Client) -> _There:
        own = await etcd.read(self._layout.attachments(self._node))
        every = await etcd.read(self._layout.documents)
        itself = await etcd.read(Keys(self._layout.node(self._node), is_prefix=False))
        self.node_is_known = bool(itself.entries)
        self.unread = []
        entries = dict(sorted([*own.entries.items(), *every.entries.items()]))
        said: dict[str, _Said] = {}
        for key, entry in entries.items():
            try:
                found = declared(key, entry.value)
            except StateFileError:
                self.unread.append(self._words(key))
                continue  # it is told where it is wanted; what is written now takes its place if it has its key
            said[key] = {
                **{it.spec.key: it.spec for it in found.attachments},
                **{it.manifest.key: it.manifest for it in found.manifests},
            }
        return _There(entries, said)

    def _words(self, key: str) -> str:
        """A document as people call it."""
        own, every = self._layout.attachments(self._node).first, self._layout.documents.first
        return shown(key.removeprefix(own).removeprefix(every))

    async def _write(self, etcd: Client, there: _There, changes: Mapping[str, _Said]) -> None:
        """What keys say from now on; one that says nothing goes."""
        items = list(changes.items())
        for first in range(0, len(items), AT_ONCE):
            some = items[first : first + AT_ONCE]
            compares: list[pb.Compare] = []
            operations: list[Put | Delete] = []
            for key, said in some:
                entry = there.entries.get(key)
                compares.append(absent(key) if entry is None else unchanged(key, entry))
                operations.append(Put(key, _written(said)) if said else Delete(Keys(key, is_prefix=False)))
            if await etcd.commit(compares, operations) is None:
                done = f"; the first {first} were written" if first else ""
                raise ChangedMeanwhile(f"somebody else changed these documents at the same moment{done}; say it again")

    def _key(self, name: _Name) -> str:
        if isinstance(name, AttachmentKey):
            return f"{self._layout.attachments(self._node).first}{quote(name.workload_id, safe='')}/{name.if_name}"
        parts = (name.kind, name.namespace, name.name)
        return self._layout.documents.first + "/".join(quote(it, safe="") for it in parts if it)


def _attachments(wanted: _Said) -> dict[AttachmentKey, AttachmentSpec]:
    return {it.key: it for it in wanted.values() if isinstance(it, AttachmentSpec)}


def _manifests(wanted: _Said) -> dict[ManifestKey, Manifest]:
    return {it.key: it for it in wanted.values() if not isinstance(it, AttachmentSpec)}


def _written(said: _Said) -> bytes:
    """Documents of YAML, each of which is JSON."""
    return "\n---\n".join(map(_document, said.values())).encode()


def _document(said: AttachmentSpec | Manifest) -> str:
    if isinstance(said, AttachmentSpec):
        fields = said.model_dump(mode="json", exclude_defaults=True)
        return json.dumps({"kind": "Attachment", **fields}, ensure_ascii=False, indent=1)
    return said.model_dump_json(by_alias=True, exclude_defaults=True, indent=1)


async def attachments_of_all(settings: ClusterSettings) -> AsyncIterator[dict[str, object]]:
    """What every node wrote of its attachments: their state, and what policies see of them, with the node's name and
    whether it is there; of one that is not it is what was so last. Raises EtcdError."""
    layout = Layout(settings.prefix)
    async with client(settings) as etcd:
        snapshot = await etcd.read(layout.every_node)
        endpoints = (await etcd.read(layout.endpoints)).entries
        present = (await etcd.read(layout.presences)).entries
    for key, entry in sorted(snapshot.entries.items()):
        node, _, rest = key.removeprefix(layout.every_node.first).partition("/")
        if rest.startswith("status/") and is_node_name(node):
            try:
                said = json.loads(entry.value)
            except ValueError:
                continue
            if isinstance(said, dict):
                there = endpoints.get(layout.endpoints_of(node).first + rest.removeprefix("status/"))
                record = read(EndpointRecord, there.value) if there is not None else None
                is_there = layout.presence(node) in present
                yield {
                    "node": node,
                    "present": is_there,
                    **said,
                    **(_NO_ENDPOINT if record is None else record.model_dump(mode="json")),
                }


_NO_ENDPOINT: Mapping[str, object] = {"namespace": "", "labels": {}, "addresses": []}
