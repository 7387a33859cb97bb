"""What is wrong between this node and its cluster, as conditions report it."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from netplumb.models.base import IPNetwork
from netplumb.reconciler.cluster.etcd.errors import EtcdError, Refused

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Troubles:
    """`away` is why etcd is not followed, None while it is; `refused` is by what was tried, `full` by pool."""

    away: str | None = "it was not reached yet"
    refused: dict[str, str] = field(default_factory=dict)
    went_back: str = ""
    name_taken: str = ""
    full: dict[IPNetwork, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Parts of the membership that a bug ended, and in which error; they run again since then."""

    def followed(self) -> None:
        """etcd is there, and refuses nothing that was not tried again."""
        self.away = None
        self.refused.clear()

    def went_well(self, what: str) -> bool:
        """etcd does not refuse that any more; whether it did."""
        return self.refused.pop(what, None) is not None

    def failed(self, what: str, error: EtcdError, *, is_followed: bool) -> None:
        """Where etcd is followed, only one call failed: the watches tell whether it is there."""
        if isinstance(error, Refused):
            if self.refused.get(what) != str(error):
                log.error("etcd refuses this node", of=what, cause=str(error))
            self.refused[what] = str(error)
        else:
            self.refused.pop(what, None)
        if not is_followed:
            if self.away is None:
                log.warning("etcd is away; what was last known holds", cause=str(error))
            self.away = str(error)

    def broke(self, what: str, error: Exception) -> None:
        """Also what was written by a stranger must not end the daemon, which serves this node in any case."""
        log.error("a part of the membership ended in an unexpected error; it is run again", part=what, exc_info=error)
        self.broken[what] = type(error).__name__
