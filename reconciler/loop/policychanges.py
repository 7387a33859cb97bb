"""Changes of network policies while the loop runs. What they mean for all workloads is worked out once, in the next
slice, however often they change until then; if that took long, the next change has to wait for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from netplumb.models.attachment import AttachmentKey
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.policing import Policing
from netplumb.reconciler.pacing.rests import rest_s


class PolicyChanges:
    """`taken` is called whenever policies have been taken over from desired state, `policed` when other policies are in
    force than before."""

    def __init__(
        self, desired: Desired, policing: Policing, taken: Callable[[], None], policed: Callable[[PolicySet], None]
    ) -> None:
        self._desired = desired
        self._policing = policing
        self._taken = taken
        self._policed = policed
        self._rest_until = -inf
        self._going: set[AttachmentKey] = set()
        """Those that were being removed when policies changed."""
        self.due = False

    def take(self) -> None:
        self.due = False
        records = self._desired.attachments.values()
        self._going.update(record.key for record in records if record.removing)
        self._policing.take(self._desired.policies.in_force, (record for record in records if not record.removing))
        self._taken()

    def removed(self, key: AttachmentKey) -> bool:
        """Whether chains and sets of former policies stayed for this one, since its elements name them until it is
        gone."""
        was_going = key in self._going
        self._going.discard(key)
        return was_going

    @property
    def hold_nobody(self) -> bool:
        """Whether none is left for which they stay."""
        return not self._going

    def converge(self, node: Callable[[], None]) -> None:
        """Takes the policies over, and converges the `node`, which has to have their chains before any workload."""
        began = time.monotonic()
        self.take()
        self._policed(self._policing.policies)
        node()
        ended = time.monotonic()
        self._rest_until = ended + rest_s(ended - began)

    async def rested(self) -> None:
        """Waits until the next change may come. A client that keeps changing thousands of policies thereby leaves the
        loop to others in between."""
        if (left_s := self._rest_until - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
