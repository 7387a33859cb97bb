"""Flows as the kernel's connection tracking keeps them, and which of them are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from netplumb.models.ports import End

SOURCE_REPLACED, DESTINATION_REPLACED = 1 << 4, 1 << 5
"""IPS_SRC_NAT and IPS_DST_NAT, include/uapi/linux/netfilter/nf_conntrack_common.h."""


CUT = 0x6E706375
"""The mark (ct mark, "npcu") of a flow that policies forbid and that is not forgotten: nothing of it passes as long as
somebody sends. Forgotten, it would begin anew with what its answerer sends, and the asker's would be answers."""


class Flow(NamedTuple):
    """What `source` sent first, to `to`, is answered by `answerer`, who sends to `answered`: the same two the other way
    round, unless one of them was replaced on the way. A protocol without ports has port 0."""

    protocol: int
    source: End
    to: End
    answerer: End
    answered: End

    @property
    def is_redirected(self) -> bool:
        return self.answerer != self.to

    @property
    def is_masked(self) -> bool:
        """Whether who is asked sees another address than the asker's."""
        return self.answered[0] != self.source[0]


@dataclass(frozen=True, slots=True)
class Crowding:
    """Links of workloads that hold too much of a table of flows that is nearly full: those from which the flows begin,
    and those to which somebody begins them who is no workload of this node."""

    begins: frozenset[str] = frozenset()
    is_begun: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.begins or self.is_begun)


NO_CROWDING = Crowding()


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk over the table: of one IP version or of both, of one protocol and one port or of all, and with those
    bits of `status` that `mask` names; with a `mark`, of those that have it. What does not fit the kernel does not
    list."""

    version: int = 0
    protocol: int = 0
    port: int = 0
    status: int = 0
    mask: int = 0
    mark: int = 0
