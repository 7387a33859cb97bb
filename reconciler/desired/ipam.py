"""PURE: which address comes next. No I/O; the store makes durable what is decided here.

A released address is not given out again while others are free: a pool is first walked from its start to its end
(`cursor`), and only then are freed addresses given again, the longest free first. Addresses of a pool that belong to
something else, such as the node, are skipped for as long as they do. Every operation takes constant time on average,
whatever the pool's size. The list of freed addresses is bounded, and short for a pool so large that its end is never
reached, such as an IPv6 /64; should its end be reached after the list overflowed, the pool is walked once more. A
reserved address goes to the attachment that it is reserved for, and to others only when nothing else is left, the
longest reserved first.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from itertools import islice
from types import MappingProxyType

from netplumb.models.attachment import AttachmentKey
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.errors import AlreadyHeld, InvalidRequest, PoolExhausted
from netplumb.models.network import Pool
from netplumb.models.status import PoolUsage
from netplumb.reconciler.desired.reservations import Reservations

FREED_KEPT = 1 << 16
"""How many freed addresses of a pool are remembered in order: all of an IPv4 /16."""

FREED_KEPT_OF_ENDLESS = 1 << 10
ENDLESS = 1 << 40
"""A pool of this size is not walked to its end: at a thousand attachments a second that takes 34 years."""

OUTSIDE_MOST = 64
"""Prefixes outside of all pools, of each family, that the node has a rule for: the kernel goes through its rules one by
one."""


@dataclass(slots=True)
class _PoolState:
    """A pool with what is known of it. Addresses are integers, since thousands of them are compared and counted."""

    pool: Pool
    name: str
    first: int
    last: int
    reserved: frozenset[int]
    cursor: int
    freed: dict[int, None]
    held: int = 0
    taken: Sequence[tuple[int, int]] = ()
    not_given: int = 0
    covered: str = ""
    """What of the node's own holds all of it, in words."""

    @classmethod
    def of(cls, pool: Pool, cursor: int | None, freed: Iterable[IPAddress]) -> _PoolState:
        network = int(pool.cidr.network_address)
        # The network address and the node's come first; IPv4 ends with broadcast, IPv6 has none (RFC 4291).
        first, last = network + 2, int(pool.cidr.broadcast_address) - (1 if pool.version == 4 else 0)
        inside = cursor is not None and first <= cursor <= last + 1
        kept = {int(a): None for a in freed if a in pool.cidr}
        reserved = frozenset(int(a) for a in pool.reserved)
        return cls(pool, pool.prefix, first, last, reserved, cursor if inside and cursor is not None else first, kept)

    @property
    def size(self) -> int:
        return self.last - self.first + 1 - sum(self.first <= a <= self.last for a in self.reserved)

    def gives(self, address: IPAddress) -> bool:
        """Whether the pool gives out this address."""
        if address.version != self.pool.version or not self.first <= int(address) <= self.last:
            return False
        return int(address) not in self.reserved and self.taken_until(int(address)) is None

    def taken_until(self, number: int) -> int | None:
        """The end of the range of foreign addresses that this one is in, None if it is in none."""
        at = bisect_right(self.taken, number, key=lambda stretch: stretch[0]) - 1
        return self.taken[at][1] if at >= 0 and number <= self.taken[at][1] else None

    @property
    def freed_kept(self) -> int:
        return FREED_KEPT if self.last - self.first < ENDLESS else FREED_KEPT_OF_ENDLESS


def choose_pools(pools: Iterable[Pool], name: str, labels: Mapping[str, str]) -> Sequence[Pool]:
    """The pools that an attachment takes from: those that it names, else those whose labels it carries, else those
    without labels, less those that are exclusive. Raises InvalidRequest when no pool has the name."""
    known = list(pools)
    if name:
        if not (named := [pool for pool in known if pool.is_called(name)]):
            names = ", ".join(dict.fromkeys(pool.name or pool.prefix for pool in known)) or "none at all"
            raise InvalidRequest("pool", f"there is no pool {name!r}; there are {names}")
        return named
    open_ = [pool for pool in known if not pool.exclusive]
    labelled = [pool for pool in open_ if pool.labels and pool.is_for(labels)]
    return labelled or [pool for pool in open_ if not pool.labels]


class Allocator:
    """The addresses held, by whom, and which one each pool gives next.

    `pick` only looks; `hold` and `release` change. The store picks, makes the choice durable, then holds: a choice
    that could not be written uses up no address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pools: list[_PoolState] = []
        self._holders: dict[IPAddress, AttachmentKey] = {}
        self.reservations = Reservations(clock)
        self.awaited: Sequence[Pool] = ()
        """What the cluster is to give this node a part of, and has not: nobody goes without an address of it."""
        self.parted: Sequence[IPNetwork] = ()
        """What the cluster gives nodes parts of: beside this node's, all of it is others', or will be."""
        self._prefixes: tuple[IPNetwork, ...] | None = None
        self._outside: set[IPAddress] = set()

    def configure(
        self, pools: Iterable[Pool], cursors: Mapping[str, int], freed: Mapping[str, Iterable[IPAddress]]
    ) -> None:
        """Takes new pools; held addresses stay held, and the walk of a pool that stays goes on where it was."""
        known = {state.pool.prefix: state for state in self._pools}
        self._pools = []
        for pool in pools:
            state = _PoolState.of(pool, cursors.get(pool.prefix), freed.get(pool.prefix, ()))
            if (before := known.get(pool.prefix)) is not None:
                state.cursor, state.freed = before.cursor, before.freed
            state.held = sum(a.version == pool.version and a in pool.cidr for a in self._holders)
            self._pools.append(state)
        self._outside = {a for a in self._holders if self._state_of(a) is None}
        self._prefixes = None

    def prefixes(self) -> tuple[IPNetwork, ...]:
        """Prefixes that cover every held address: the pools, and aggregates of what is held outside of them. The number
        of the latter is bounded, since a routing rule of the node is made for each."""
        if self._prefixes is None:
            outside_v4 = collapse_addresses(IPv4Network(a) for a in self._outside if isinstance(a, IPv4Address))
            outside_v6 = collapse_addresses(IPv6Network(a) for a in self._outside if isinstance(a, IPv6Address))
            pools: tuple[IPNetwork, ...] = tuple(pool.cidr for pool in self.pools)
            self._prefixes = (*pools, *islice(outside_v4, OUTSIDE_MOST), *islice(outside_v6, OUTSIDE_MOST))
        return self._prefixes

    @property
    def pools(self) -> tuple[Pool, ...]:
        return tuple(state.pool for state in self._pools)

    def surround(
        self, taken: Mapping[str, Sequence[tuple[int, int]]], covered: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Takes, for each pool, the ranges of addresses that belong to others, in order, and what covers a whole pool.
        Held addresses stay held."""
        for state in self._pools:
            state.covered = covered.get(state.pool.prefix, "")
            state.taken = taken.get(state.pool.prefix, ())
            inside = sum(max(0, min(last, state.last) - max(first, state.first) + 1) for first, last in state.taken)
            held = sum(a in state.pool.cidr and state.taken_until(int(a)) is not None for a in self._holders)
            reserved = sum(state.first <= a <= state.last and state.taken_until(a) is not None for a in state.reserved)
            state.not_given = inside - held - reserved

    def holder(self, address: IPAddress) -> AttachmentKey | None:
        return self._holders.get(address)

    def held_in(self, networks: Collection[IPNetwork]) -> Mapping[IPAddress, AttachmentKey]:
        """Who holds which of these addresses."""
        if not networks:
            return {}
        return {address: key for address, key in self._holders.items() if any(address in it for it in networks)}

    def pool_of(self, address: IPAddress) -> Pool | None:
        state = self._state_of(address)
        return state.pool if state is not None else None

    def node_address(self, address: IPAddress) -> IPAddress | None:
        """The node's address that this one's traffic from the node should come from: that of its own pool, or of the
        first pool of its family."""
        pool = self.pool_of(address) or next((p for p in self.pools if p.version == address.version), None)
        return pool.node_address if pool is not None else None

    def check_static(self, address: IPAddress, key: AttachmentKey) -> None:
        """Raises InvalidRequest or AlreadyHeld when this address cannot be given to this attachment."""
        if (holder := self._holders.get(address)) is not None and holder != key:
            raise AlreadyHeld(f"address {address} is held by attachment {holder}")
        pool = self.pool_of(address)
        if pool is None:
            whole = next((it for it in self.parted if address in it), None)
            if whole is not None and holder is None:
                raise InvalidRequest(
                    "addresses",
                    f"{address} is in no prefix that this node holds of {whole}, of which the cluster gives each node "
                    "its own: another node has it, or will; `netplumb cluster status` tells who holds what",
                )
            return
        if address == pool.node_address:
            raise InvalidRequest("addresses", f"{address} is the node's own address in pool {pool.prefix}")
        if address in (pool.cidr.network_address, pool.cidr.broadcast_address) and pool.version == 4:
            raise InvalidRequest("addresses", f"{address} is the network or broadcast address of pool {pool.prefix}")
        if address == pool.cidr.network_address:
            raise InvalidRequest("addresses", f"{address} is the subnet-router anycast address of pool {pool.prefix}")
        if address in pool.reserved:
            raise InvalidRequest("addresses", f"{address} is reserved in pool {pool.prefix}")

    def pick(
        self,
        version: int,
        name: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
        key: AttachmentKey | None = None,
    ) -> IPAddress | None:
        """The address of one family that an attachment may have: what is reserved for its key, else the next free one
        of the pools that it may take from, in their order; None if there are no such pools.

        Raises PoolExhausted, naming the pools, when all are full or not this node's yet, and InvalidRequest when no
        pool has the name.
        """
        chosen = choose_pools((*self.pools, *self.awaited), name, labels)
        states = [state for state in self._pools if state.pool.version == version and state.pool in chosen]
        if not states:
            if awaited := [it.prefix for it in self.awaited if it.version == version and it in chosen]:
                raise PoolExhausted(
                    f"no IPv{version} address can be given: the cluster has given this node no prefix of "
                    f"{', '.join(awaited)} yet; `netplumb status` tells why"
                )
            return None
        if key is not None and (address := self._first_free(self.reservations.of(key), states)) is not None:
            return address
        for state in states:
            if (number := self._next(state)) is not None:
                return _address(number, version)
        if (address := self._first_free(self.reservations, states)) is not None:
            return address
        names = ", ".join(state.pool.prefix for state in states)
        whose = "; ".join(f"all of {it.pool.prefix} is in {it.covered}" for it in states if it.covered)
        why = f" ({whose}: remove that, or take another pool)" if whose else "; detach something or add a pool"
        raise PoolExhausted(f"no free IPv{version} address is left in {names}{why}")

    def _first_free(self, addresses: Iterable[IPAddress], states: Iterable[_PoolState]) -> IPAddress | None:
        for address in addresses:
            if address not in self._holders and any(state.gives(address) for state in states):
                return address
        return None

    def _next(self, state: _PoolState) -> int | None:
        if (number := self._walk(state)) is not None:
            return number
        for number in state.freed:
            if self._is_free(state, number):
                return number
        reserved = sum(state.gives(address) for address in self.reservations)
        if state.held + state.not_given + reserved < state.size:
            state.cursor = state.first  # some were dropped from the list; the next picks go on from what is found now
            return self._walk(state)
        return None

    def _walk(self, state: _PoolState) -> int | None:
        """Walks on to the next free address. Skipped ones are held, reserved, foreign or in the list of freed ones."""
        while state.cursor <= state.last:
            if (end := state.taken_until(state.cursor)) is not None:
                state.cursor = end + 1
            elif state.cursor not in state.freed and self._is_free(state, state.cursor):
                return state.cursor
            else:
                state.cursor += 1
        return None

    def _is_free(self, state: _PoolState, number: int) -> bool:
        if number in state.reserved or state.taken_until(number) is not None:
            return False
        address = _address(number, state.pool.version)
        return address not in self._holders and not self.reservations.has(address)

    def hold(self, key: AttachmentKey, addresses: Sequence[IPAddress]) -> None:
        self.reservations.end(addresses)
        for address in addresses:
            new = address not in self._holders
            self._holders[address] = key
            if (state := self._state_of(address)) is not None:
                state.freed.pop(int(address), None)
                state.held += new
                state.not_given -= new and state.taken_until(int(address)) is not None
            elif new:
                self._outside.add(address)
                self._prefixes = None

    def release(self, addresses: Iterable[IPAddress]) -> None:
        """Lets addresses go; they are given out again when no others are free."""
        for address, state in self._let_go(addresses):
            if state.first <= int(address) <= state.last:
                state.freed[int(address)] = None
                if len(state.freed) > state.freed_kept:
                    del state.freed[next(iter(state.freed))]

    def _let_go(self, addresses: Iterable[IPAddress]) -> Iterator[tuple[IPAddress, _PoolState]]:
        for address in addresses:
            if self._holders.pop(address, None) is None:
                continue
            if (state := self._state_of(address)) is not None:
                state.held -= 1
                state.not_given += state.taken_until(int(address)) is not None
                yield address, state
            else:
                self._outside.discard(address)
                self._prefixes = None

    def _state_of(self, address: IPAddress) -> _PoolState | None:
        return next((s for s in self._pools if address.version == s.pool.version and address in s.pool.cidr), None)

    def is_freed(self, address: IPAddress) -> bool:
        """Whether the address is in a list of freed ones."""
        state = self._state_of(address)
        return state is not None and int(address) in state.freed

    @property
    def freed_kept(self) -> int:
        """How many freed addresses are worth storing."""
        return sum(min(state.size, state.freed_kept) for state in self._pools)

    def freed(self, most: int) -> list[IPAddress]:
        """The addresses that were let go, so many of each pool, those that are given next first."""
        return [_address(it, state.pool.version) for state in self._pools for it in islice(state.freed, most)]

    def cursors(self) -> Iterator[tuple[str, int]]:
        """Where each pool's walk stands, to be stored."""
        return ((state.name, state.cursor) for state in self._pools)

    def usage(self) -> tuple[PoolUsage, ...]:
        return tuple(PoolUsage(state.pool.prefix, state.held, state.size) for state in self._pools)


def _address(number: int, version: int) -> IPAddress:
    return IPv4Address(number) if version == 4 else IPv6Address(number)
