"""Whether an etcd is the one that was known, and has not gone back in time.

During an etcd's life its revision only grows. One that was restored from a backup has a lower revision than was seen
before, or, if it was created anew, another cluster id: what it lacks was not deleted, but forgotten. An administrator
accepts that once for all nodes (`netplumb cluster accept`), by a key in that etcd. A node believes the key only if it
has not seen it before, since a backup may hold the answer to an earlier question.
"""

from __future__ import annotations

from netplumb.models.errors import NetplumbError
from netplumb.reconciler.cluster.etcd.entries import Header

NOTHING = Header(0, 0)
RESTORED = "it was restored from an older backup"


class WentBack(NetplumbError):
    """This etcd lacks what was known before."""


class Lineage:
    """`known` is the latest that was seen."""

    def __init__(self, known: Header = NOTHING) -> None:
        self.known = known

    def check(self, header: Header, known: Header) -> None:
        """Of an answer that the whole cluster stands for, beside what was known when it was asked for: while it was on
        its way, a watch may have told of later changes. Raises WentBack."""
        self.check_cluster(header.cluster)
        if header.revision < known.revision:
            raise WentBack(f"etcd is at revision {header.revision} and was at {known.revision} before: {RESTORED}")

    def check_cluster(self, cluster: int) -> None:
        if self.known.cluster and cluster != self.known.cluster:
            raise WentBack(
                f"etcd is another one ({cluster:x}) than before ({self.known.cluster:x}): it was made anew, or the "
                "endpoints lead elsewhere"
            )

    def advance(self, header: Header) -> None:
        if header.revision > self.known.revision:
            self.known = header

    def accept(self) -> None:
        """Whatever comes next is what holds."""
        self.known = NOTHING
