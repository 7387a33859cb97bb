"""When what is not as desired is looked at again: a timer for each attachment puts its key back into the queue.

What failed is tried again without end, after growing pauses. What waits for its namespace is looked at now and then.
What lost its namespace is detached after a grace period.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Set

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Retryable
from netplumb.models.status import AttachmentStatus, Phase
from netplumb.reconciler.converge.work import Outcome
from netplumb.reconciler.pacing.backoff import backoff_s
from netplumb.reconciler.pacing.fights import Fights
from netplumb.reconciler.pacing.queue import Urgency
from netplumb.reconciler.status.tally import Tally

BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 30.0
UNREAD_S = 5.0
PENDING_LEAST_S = 2.0
PENDING_EACH_S = 0.005


class Retries:
    """`mark` puts a key back into the queue; `give_up` detaches what has lost its namespace for too long."""

    def __init__(
        self,
        mark: Callable[[AttachmentKey, Urgency], None],
        give_up: Callable[[AttachmentKey], None],
        tally: Tally,
        fights: Fights[AttachmentKey],
        *,
        netns_gone_grace_s: float,
    ) -> None:
        self._mark = mark
        self._give_up = give_up
        self._tally = tally
        self._fights = fights
        self.netns_gone_grace_s = netns_gone_grace_s
        self._timers: dict[AttachmentKey, asyncio.TimerHandle] = {}
        self._gone_since: dict[AttachmentKey, float] = {}

    def keys(self) -> Set[AttachmentKey]:
        return self._timers.keys()

    def passed(self, key: AttachmentKey, outcome: Outcome, status: AttachmentStatus) -> None:
        """Plans the next look after a pass that came to this."""
        if status.phase is not Phase.LOST:
            self._gone_since.pop(key, None)
        if status.phase is Phase.ATTACHED:
            self._cancel(key)
            if outcome.unread is not None:
                self.after(key, UNREAD_S)
            elif status.condition("Fighting") is not None:
                self.after(key, self._fights.quiet_in_s(key, time.monotonic()))  # to say that it is over
            return
        if outcome.errors:
            hint_s = next((e.after_s for e in outcome.errors if isinstance(e, Retryable) and e.after_s), None)
            self.failed(key, status.retries, hint_s)
        elif status.phase is Phase.PENDING:
            self.after(key, pending_s(len(self._timers)))
        elif status.phase is Phase.LOST:
            since = self._gone_since.setdefault(key, time.monotonic())
            left_s = since + self.netns_gone_grace_s - time.monotonic()
            if left_s > 0:
                self.after(key, left_s)
            else:
                self._give_up(key)

    def failed(self, key: AttachmentKey, retries: int, hint_s: float | None = None) -> None:
        """Plans the next try after so many, or when the error said so. Jitter keeps those that failed together from
        retrying together."""
        self._tally.retries += 1
        pause_s = backoff_s(BACKOFF_FIRST_S, BACKOFF_MOST_S, max(retries - 1, 0)) * random.uniform(0.75, 1.25)
        self.after(key, hint_s or pause_s)

    def after(self, key: AttachmentKey, seconds: float) -> None:
        """Plans the next look, in place of any that was planned."""
        self._cancel(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._mark, key, Urgency.EVENT)

    def forget(self, key: AttachmentKey) -> None:
        self._gone_since.pop(key, None)
        self._cancel(key)

    def _cancel(self, key: AttachmentKey) -> None:
        if (handle := self._timers.pop(key, None)) is not None:
            handle.cancel()


def pending_s(waiting: int) -> float:
    """How long an attachment that waits for its namespace waits for the next look, if so many do: a look takes a few
    tenths of a millisecond, and thousands must not keep the loop busy."""
    return max(PENDING_LEAST_S, PENDING_EACH_S * waiting)
