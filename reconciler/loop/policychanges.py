"""Changes of network policies while the loop runs. What they mean for all workloads is worked out once, in the next
slice, however often they change until then; if that took long, the next change has to wait for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from math import inf

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.elsewhere import FORESEEN_S, Elsewhere
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
        self._foreseen: PolicySet | None = None
        self._waits_until = inf
        self.due = False

    def may_be_taken(self, elsewhere: Elsewhere | None) -> bool:
        """Whether it is known whom the new policies mean on other nodes. They are then in force together with the
        elements for these: in between, what they allow would be dropped."""
        if elsewhere is None:
            return True
        if (policies := self._desired.policies.in_force) is not self._foreseen:
            self._foreseen = policies
            self._waits_until = min(self._waits_until, time.monotonic() + FORESEEN_S)
            policing = Policing()
            policing.take(policies, self._staying)
            elsewhere.foresee(policing)
        return elsewhere.is_settled or time.monotonic() >= self._waits_until

    def take(self) -> None:
        self.due = False
        self._foreseen, self._waits_until = None, inf
        records = self._desired.attachments.values()
        self._going.update(record.key for record in records if record.removing)
        self._policing.take(self._desired.policies.in_force, self._staying)
        self._taken()

    @property
    def _staying(self) -> Iterator[Attachment]:
        return (record for record in self._desired.attachments.values() if not record.removing)

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
