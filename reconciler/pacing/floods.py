"""PURE: who tells of more changes than anybody could look at is not listened to for a while.

All namespaces are heard on one socket, where the kernel's filter cannot tell them apart, so each message has to be
taken off it. But to know whose it is takes a small part of what it takes to see what it means. So each namespace has a
budget for that (`budgets`). One that is over it is muted: its messages are counted and not looked at, until it has been
quiet for long enough. Meanwhile somebody else has to look at what is in it, now and then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Generic, TypeVar

from netplumb.reconciler.pacing.budgets import BEGINNING_S, Budgets

HEARD_S, MUTED_S = 15e-6, 2e-6
"""What one message takes that is looked at, at least, and one that is not."""

_K = TypeVar("_K")


class Floods(Generic[_K]):
    """`now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._budgets: Budgets[_K] = Budgets()
        self._told: Counter[_K] = Counter()
        self.muted: Set[_K] = frozenset()

    def heeds(self, namespace: _K, messages: int = 1) -> bool:
        """Whether the next messages from there are to be looked at. They are counted."""
        self._told[namespace] += messages
        return namespace not in self.muted

    def settle(self, now: float, heard_s: float = HEARD_S) -> Set[_K]:
        """Charges what was told since the last time, of which each message that was looked at took so long: a link is
        ten times as dear as a route. Returns whom this mutes, or mutes no more."""
        for namespace, messages in self._told.items():
            each_s = MUTED_S if namespace in self.muted else max(heard_s, HEARD_S)
            self._budgets.charge(namespace, messages * each_s, now)
        before, self.muted = self.muted, {it for it in self._told.keys() | self.muted if self._is_over(it, now)}
        self._told.clear()
        return before ^ self.muted

    def _is_over(self, namespace: _K, now: float) -> bool:
        """Who was muted has half of its budget back before it is heard again, so that this does not come and go."""
        most_s = BEGINNING_S / 2 if namespace in self.muted else BEGINNING_S
        return self._budgets.owed_s(namespace, now) > most_s

    def forget(self, namespace: _K) -> None:
        """Its number may be another's soon."""
        self._budgets.forget(namespace)
        self._told.pop(namespace, None)
        self.muted -= {namespace}
