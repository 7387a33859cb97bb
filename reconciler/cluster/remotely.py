"""Documents that people write for another node, or for all of them, into etcd: each under a key of its own.

What is asked for is compared with what is there, and written in transactions that hold only if nobody changed that
meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.errors import NetplumbError
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.models.statefile import Applied, Deleted, StateFile
from netplumb.reconciler.cluster.administration import client
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put, absent, unchanged
from netplumb.reconciler.cluster.etcd.entries import Entry, Keys
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import EndpointRecord, read
from netplumb.reconciler.sources.applied import told, wished_in
from netplumb.reconciler.sources.statefile import StateFileError, declared

AT_ONCE = 50
"""Documents in a transaction; each takes a comparison and an operation of the 128 that etcd allows."""


class ChangedMeanwhile(NetplumbError):
    """Somebody else wrote to the same documents."""


@dataclass(frozen=True, slots=True)
class _There:
    """What etcd has now: its keys, and what they say."""

    entries: Mapping[str, Entry]
    attachments: Mapping[AttachmentKey, AttachmentSpec]
    manifests: Mapping[ManifestKey, Manifest]
    where: Mapping[AttachmentKey | ManifestKey, str]


class Documents:
    """Those of one node, and those of all. Once it was asked, it is known whether there was ever such a node."""

    def __init__(self, settings: ClusterSettings, node: str) -> None:
        self._settings = settings
        self._layout = Layout(settings.prefix)
        self._node = node
        self.node_is_known = False

    async def apply(self, files: Sequence[StateFile], *, dry_run: bool) -> list[Applied]:
        """Raises InvalidRequest, ChangedMeanwhile or EtcdError."""
        wished, manifests = wished_in(files)
        async with client(self._settings) as etcd:
            there = await self._there(etcd)
            if not dry_run:
                changes: dict[str, bytes | None] = {}
                for key, spec in wished.items():
                    if there.attachments.get(key) != spec:
                        changes[there.where.get(key) or self._attachment(key)] = _attachment(spec)
                for name, manifest in manifests.items():
                    if there.manifests.get(name) != manifest:
                        changes[there.where.get(name) or self._manifest(name)] = _manifest(manifest)
                await self._write(etcd, there, changes)
        return [
            *sorted(told(there.manifests, manifests, (), {}), key=lambda it: it.key),
            *sorted(told(there.attachments, wished, (), {}), key=lambda it: it.key),
        ]

    async def delete(self, files: Sequence[StateFile], keys: Sequence[AttachmentKey], *, dry_run: bool) -> Deleted:
        """Raises InvalidRequest, ChangedMeanwhile or EtcdError."""
        wished, manifests = wished_in(files) if files else ({}, {})
        meant: list[AttachmentKey | ManifestKey] = list(dict.fromkeys((*keys, *wished, *manifests)))
        async with client(self._settings) as etcd:
            there = await self._there(etcd)
            going = [key for key in meant if key in there.where]
            if not dry_run:
                await self._write(etcd, there, {there.where[key]: None for key in going})
        return Deleted(tuple(going), tuple(key for key in meant if key not in there.where))

    async def _there(self, etcd: Client) -> _There:
        own = await etcd.read(self._layout.attachments(self._node))
        every = await etcd.read(self._layout.documents)
        itself = await etcd.read(Keys(self._layout.node(self._node), is_prefix=False))
        self.node_is_known = bool(itself.entries)
        entries = {**own.entries, **every.entries}
        attachments: dict[AttachmentKey, AttachmentSpec] = {}
        manifests: dict[ManifestKey, Manifest] = {}
        where: dict[AttachmentKey | ManifestKey, str] = {}
        for key, entry in entries.items():
            try:
                said = declared(key, entry.value)
            except StateFileError:
                continue  # it is told where it is wanted; what is written now takes its place if it has its key
            for attachment in said.attachments:
                attachments[attachment.spec.key] = attachment.spec
                where[attachment.spec.key] = key
            for manifest in said.manifests:
                manifests[manifest.manifest.key] = manifest.manifest
                where[manifest.manifest.key] = key
        return _There(entries, attachments, manifests, where)

    async def _write(self, etcd: Client, there: _There, changes: Mapping[str, bytes | None]) -> None:
        items = list(changes.items())
        for first in range(0, len(items), AT_ONCE):
            some = items[first : first + AT_ONCE]
            compares: list[pb.Compare] = []
            operations: list[Put | Delete] = []
            for key, value in some:
                entry = there.entries.get(key)
                compares.append(absent(key) if entry is None else unchanged(key, entry))
                operations.append(Delete(Keys(key, is_prefix=False)) if value is None else Put(key, value))
            if await etcd.commit(compares, operations) is None:
                done = f"; the first {first} were written" if first else ""
                raise ChangedMeanwhile(f"somebody else changed these documents at the same moment{done}; say it again")

    def _attachment(self, key: AttachmentKey) -> str:
        return f"{self._layout.attachments(self._node).first}{quote(key.workload_id, safe='')}/{key.if_name}"

    def _manifest(self, key: ManifestKey) -> str:
        parts = (key.kind, key.namespace, key.name)
        return self._layout.documents.first + "/".join(quote(it, safe="") for it in parts if it)


def _attachment(spec: AttachmentSpec) -> bytes:
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({"kind": "Attachment", **fields}, ensure_ascii=False, indent=1).encode()


def _manifest(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(by_alias=True, exclude_defaults=True, indent=1).encode()


async def attachments_of_all(settings: ClusterSettings) -> AsyncIterator[dict[str, object]]:
    """What every node wrote of its attachments: their state, and what policies see of them, with the node's name.
    Raises EtcdError."""
    layout = Layout(settings.prefix)
    async with client(settings) as etcd:
        snapshot = await etcd.read(layout.every_node)
        endpoints = (await etcd.read(layout.endpoints)).entries
    for key, entry in sorted(snapshot.entries.items()):
        node, _, rest = key.removeprefix(layout.every_node.first).partition("/")
        if rest.startswith("status/"):
            try:
                said = json.loads(entry.value)
            except ValueError:
                continue
            if isinstance(said, dict):
                there = endpoints.get(layout.endpoints_of(node).first + rest.removeprefix("status/"))
                record = read(EndpointRecord, there.value) if there is not None else None
                yield {"node": node, **said, **(_NO_ENDPOINT if record is None else record.model_dump(mode="json"))}


_NO_ENDPOINT: Mapping[str, object] = {"namespace": "", "labels": {}, "addresses": []}
