"""The cluster's documents for this node, as its mirrors have them. They are gathered anew when one of them changes, not
whenever anything in the cluster does, which with many nodes is all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netplumb.reconciler.cluster.etcd.entries import Entry, Keys
from netplumb.reconciler.cluster.keys import Layout


class Wanted:
    """`documents` are those of this node alone and those of every node, by their names."""

    def __init__(self, layout: Layout, node: str, own: Mapping[str, Entry], shared: Mapping[str, Entry]) -> None:
        self._of_own, self._of_every = layout.attachments(node), layout.documents
        self._own, self._shared = own, shared
        self.documents = _below(self._of_own, own), _below(self._of_every, shared)

    def own_changed(self) -> None:
        self.documents = _below(self._of_own, self._own), self.documents[1]

    def shared_changed(self, keys: Collection[str]) -> None:
        if any(key.startswith(self._of_every.first) for key in keys):
            self.documents = self.documents[0], _below(self._of_every, self._shared)


def _below(keys: Keys, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
    return {key.removeprefix(keys.first): it for key, it in entries.items() if key.startswith(keys.first)}
