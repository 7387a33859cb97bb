"""All that desired state follows from, copied at one moment, for a rehearsal of what would become of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.settings import Settings
from netplumb.reconciler.desired.store import Change, Contents


@dataclass(frozen=True, slots=True)
class Scene:
    """A store that begins with these contents and keeps nothing; the claims that wait, in the order in which they are
    tried again; the settings, and what is known of the node."""

    contents: Contents
    waiting: Sequence[tuple[str, AttachmentSpec, NetplumbError]]
    settings: Settings
    known: NodeNetwork

    def load(self) -> Contents:
        return self.contents

    def commit(self, change: Change) -> None:
        """What is done in memory is all there is."""

    def trim_freed(self, kept: int) -> None:
        """Nothing is kept."""
