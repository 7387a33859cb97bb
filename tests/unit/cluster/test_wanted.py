"""Which documents are wanted: as the mirrors have them, and the same objects as long as none is another."""

from __future__ import annotations

from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.wanted import Wanted

LAYOUT = Layout("/netplumb")
POLICY, WEB, NODE = LAYOUT.documents.first + "p", LAYOUT.attachments("a").first + "web", LAYOUT.node("b")


def entry(value: bytes = b"{}") -> Entry:
    return Entry(value, 1, 1)


def test_they_are_what_the_mirrors_have() -> None:
    own, shared = {WEB: entry()}, {NODE: entry(), POLICY: entry()}
    wanted = Wanted(LAYOUT, "a", own, shared)
    assert wanted.documents == ({"web": entry()}, {"p": entry()})
    own[WEB] = entry(b"other")
    wanted.own_changed()
    del shared[POLICY]
    wanted.shared_changed({POLICY, NODE})
    assert wanted.documents == ({"web": entry(b"other")}, {})


def test_another_node_is_no_other_document() -> None:
    """Nothing of thousands of documents is looked at, nor compared, whenever a node tells something of itself."""
    shared = {POLICY: entry()}
    wanted = Wanted(LAYOUT, "a", {}, shared)
    before = wanted.documents
    shared[NODE] = entry()
    wanted.shared_changed({NODE})
    assert wanted.documents is before
