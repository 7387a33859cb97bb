"""PURE: where in etcd what lies. Below the cluster's prefix there are two parts:

    shared/nodes/NODE              what a node tells of itself; it stays when the node is away
    shared/presence/NODE           that it is there; it goes with the node's lease
    shared/prefixes/NODE/CIDR      that it holds this prefix, a dash for the slash; it stays too
    shared/accepted/TOKEN          that somebody accepted an etcd that had gone back in time; never removed
    shared/documents/NAME          network policies and namespaces, of every node
    endpoints/NODE/WORKLOAD/IF     what policies see of its workloads: addresses, namespace, labels; it stays, too
    nodes/NODE/attachments/NAME    what is wanted on this node, as people write it
    nodes/NODE/status/NAME         what its attachments are, as the node writes it back

Every node watches all of `shared/` and `endpoints/`, and what is wanted of it. A node writes below its own name alone,
so that a role of etcd can hold it to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from netplumb.models.base import IPNetwork
from netplumb.models.clustersettings import is_node_name
from netplumb.models.routing import parse_prefix
from netplumb.reconciler.cluster.etcd.entries import Keys

KEPT = 1 << 16
"""So much of what was understood is remembered: all is looked at with each change, and nearly all is as before."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one cluster."""

    prefix: str

    @property
    def shared(self) -> Keys:
        return Keys(f"{self.prefix}/shared/")

    @property
    def prefixes(self) -> Keys:
        return Keys(f"{self.prefix}/shared/prefixes/")

    @property
    def accepted(self) -> Keys:
        return Keys(f"{self.prefix}/shared/accepted/")

    @property
    def nodes(self) -> Keys:
        return Keys(f"{self.prefix}/shared/nodes/")

    @property
    def presences(self) -> Keys:
        return Keys(f"{self.prefix}/shared/presence/")

    def node(self, name: str) -> str:
        return self.nodes.first + name

    def presence(self, name: str) -> str:
        return self.presences.first + name

    def prefixes_of(self, name: str) -> Keys:
        return Keys(f"{self.prefixes.first}{name}/")

    def prefix_of(self, name: str, cidr: IPNetwork) -> str:
        return f"{self.prefixes.first}{name}/{_in_key(cidr)}"

    def prefix_in(self, key: str) -> tuple[str, IPNetwork] | None:
        """Whose prefix a key stands for, and which; None for any other key."""
        return _prefix_in(self.prefixes.first, key)

    @property
    def documents(self) -> Keys:
        return Keys(f"{self.prefix}/shared/documents/")

    @property
    def endpoints(self) -> Keys:
        return Keys(f"{self.prefix}/endpoints/")

    def endpoints_of(self, name: str) -> Keys:
        return Keys(f"{self.endpoints.first}{name}/")

    @property
    def every_node(self) -> Keys:
        return Keys(f"{self.prefix}/nodes/")

    def statuses(self, name: str) -> Keys:
        return Keys(f"{self.prefix}/nodes/{name}/status/")

    def attachments(self, name: str) -> Keys:
        return Keys(f"{self.prefix}/nodes/{name}/attachments/")


@lru_cache(maxsize=KEPT)
def _prefix_in(first: str, key: str) -> tuple[str, IPNetwork] | None:
    node, slash, text = key.removeprefix(first).partition("/")
    if not key.startswith(first) or not slash or not is_node_name(node):
        return None
    try:
        cidr = parse_prefix(text.replace("-", "/"))
    except ValueError:
        return None
    # In one way of writing it alone: of two keys that say the same one would be taken for the other.
    return (node, cidr) if isinstance(cidr, IPNetwork) and text == _in_key(cidr) else None


def _in_key(cidr: IPNetwork) -> str:
    """With a dash for the slash, as a key has its own."""
    return str(cidr).replace("/", "-")
