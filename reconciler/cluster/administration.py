"""What people ask of a cluster, and do to it, with etcd alone: no daemon need run for it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from netplumb.models.cluster import Peer
from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.errors import NetplumbError
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Member, Put, absent
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Header, Keys
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.health import Trouble, lacks_a_prefix, troubles_of
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import EndpointRecord, parsed
from netplumb.reconciler.cluster.roster import Roster

AT_ONCE = 50

A = TypeVar("A")


class NotRemoved(NetplumbError):
    """The node cannot be removed; the message says why."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node, how many seconds ago it said that it is there, None where it does not, and what is wrong with it."""

    peer: Peer
    heard_s: float | None
    troubles: Sequence[Trouble]


@dataclass(frozen=True, slots=True)
class Seen:
    """The nodes, as etcd tells of them at a revision."""

    header: Header
    nodes: Sequence[SeenNode]


@asynccontextmanager
async def client(settings: ClusterSettings) -> AsyncIterator[Client]:
    """At a member that answers. Raises Away where none does."""
    async with _connected(settings) as etcd:
        await _find_one(etcd, settings)
        yield etcd


@asynccontextmanager
async def _connected(settings: ClusterSettings) -> AsyncIterator[Client]:
    connection = Connection(settings)
    try:
        yield Client(connection)
    finally:
        await connection.close()


async def _find_one(etcd: Client, settings: ClusterSettings) -> None:
    """Each question that fails leads to the next endpoint; which a daemon asks again anyway, and a person would not."""
    last: Away | None = None
    for _ in settings.endpoints:
        try:
            await etcd.read(Layout(settings.prefix).accepted)
        except Away as error:
            last = error
        else:
            return
    if last is not None:
        raise last


async def nodes(settings: ClusterSettings) -> Seen:
    """Raises EtcdError."""
    layout = Layout(settings.prefix)
    roster = Roster(layout)
    async with client(settings) as etcd:
        snapshot = await etcd.read(layout.shared)
        roster.take(snapshot.entries)
        leases = {
            name: entry.lease
            for name in roster.peers
            if (entry := snapshot.entries.get(layout.presence(name))) is not None and entry.lease
        }
        heard = await _each(leases, lambda name: etcd.renewed_before(leases[name]))
        may_be_removed = [name for name in leases if lacks_a_prefix(roster.peers[name], settings)]
        said = await _each(may_be_removed, lambda name: etcd.read(layout.endpoints_of(name)))
    found, shared = [], roster.at_one_address
    for name in sorted(roster.peers):
        endpoints = [parsed(EndpointRecord, it.value) for it in said[name].entries.values()] if name in said else []
        troubles = troubles_of(
            roster.peers[name],
            roster.void_of(name),
            [it for it in endpoints if it is not None],
            shared,
            heard.get(name),
            settings,
        )
        found.append(SeenNode(roster.peers[name], heard.get(name), list(troubles)))
    return Seen(snapshot.header, found)


async def _each(names: Collection[str], ask: Callable[[str], Awaitable[A]]) -> dict[str, A]:
    """What is answered to one question for each, some at a time."""
    found: dict[str, A] = {}
    left = iter(names)
    while some := list(islice(left, AT_ONCE)):
        found |= zip(some, await asyncio.gather(*map(ask, some)), strict=True)
    return found


async def members(settings: ClusterSettings) -> list[Member]:
    """Of etcd itself, each as it tells of itself, at the address that it gives to clients. Raises EtcdError."""
    async with client(settings) as etcd:
        listed = await etcd.members()
    found = []
    for name, endpoints in listed:
        if not endpoints:
            found.append(Member(name, (), leader=False, version="", size_bytes=0, revision=0, trouble="not started"))
            continue
        async with _connected(settings.model_copy(update={"endpoints": endpoints[:1]})) as etcd:
            found.append(replace(await etcd.status(), name=name, endpoints=endpoints))
    return found


@dataclass(frozen=True, slots=True)
class Removal:
    """What `remove` would take from a node, and leaves: how many documents say what is wanted there. A node that is
    `present` told last of so many `workloads`, by their interfaces."""

    prefixes: Sequence[str]
    documents: int
    present: bool = False
    workloads: int = 0


async def removal(settings: ClusterSettings, node: str, *, force: bool) -> Removal:
    """Raises NotRemoved or EtcdError."""
    layout = Layout(settings.prefix)
    async with client(settings) as etcd:
        shared = (await etcd.read(layout.shared)).entries
        documents = (await etcd.read(layout.attachments(node))).entries
        endpoints = (await etcd.read(layout.endpoints_of(node))).entries
    prefixes = [str(said[1]) for key in shared if (said := layout.prefix_in(key)) and said[0] == node]
    if layout.node(node) not in shared and not prefixes:
        raise NotRemoved(f"there is no node {node}; `netplumb cluster status` lists them")
    present = layout.presence(node) in shared
    if present and not force:
        raise NotRemoved(
            f"{node} is there: stop netplumb on it and wait until it counts as away, or say --force; its workloads "
            "keep addresses that others will be given"
        )
    return Removal(prefixes, len(documents), present, len(endpoints))


async def remove(settings: ClusterSettings, node: str, *, force: bool) -> None:
    """Takes a node's prefixes from it, for others to have, and forgets what it told of itself. What is wanted of it
    stays: a node that lives yet, or comes back after all, would take it for withdrawn, and end what runs. Raises
    NotRemoved or EtcdError."""
    layout = Layout(settings.prefix)
    async with client(settings) as etcd:
        changes = [
            Delete(layout.prefixes_of(node)),
            Delete(Keys(layout.node(node), is_prefix=False)),
            Delete(Keys(layout.presence(node), is_prefix=False)),
            Delete(layout.statuses(node)),
            Delete(layout.endpoints_of(node)),
        ]
        compares = [] if force else [absent(layout.presence(node))]
        if await etcd.commit(compares, changes) is None:
            raise NotRemoved(f"{node} has come back meanwhile")


async def accept(settings: ClusterSettings) -> Header:
    """Says, to every node that waits for it, that etcd is meant as it is. Raises EtcdError."""
    layout = Layout(settings.prefix)
    async with client(settings) as etcd:
        header = (await etcd.read(layout.accepted)).header
        key = layout.accepted.first + secrets.token_hex(16)
        await etcd.commit([absent(key)], [Put(key, json.dumps({"at": time.time()}).encode())])
    return header
