"""Addresses: which comes next, which never, and that a pool's size costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule
from pydantic import ValidationError

from netplumb.models.attachment import AttachmentKey
from netplumb.models.base import IPAddress
from netplumb.models.errors import AlreadyHeld, InvalidRequest, PoolExhausted
from netplumb.models.network import Pool
from netplumb.models.settings import Settings
from netplumb.reconciler.desired import ipam
from netplumb.reconciler.desired.ipam import Allocator

KEY, OTHER = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")


def pool(cidr: str, *reserved: str) -> Pool:
    return Pool.model_validate({"cidr": cidr, "reserved": reserved})


def allocator(*pools: Pool) -> Allocator:
    made = Allocator()
    made.configure(pools, {}, {})
    return made


def take(from_: Allocator, version: int = 4) -> IPAddress:
    picked = from_.pick(version)
    assert picked is not None
    from_.hold(KEY, [picked])
    return picked


def every(from_: Allocator, version: int = 4) -> list[str]:
    """All that the pools give until they are full."""
    given_out = []
    while True:
        try:
            given_out.append(str(take(from_, version)))
        except PoolExhausted:
            return given_out


def test_network_broadcast_first_and_reserved_addresses_are_never_given() -> None:
    """Of a /29 with one reserved address four are for workloads, and those alone."""
    addresses = every(allocator(pool("10.0.0.0/29", "10.0.0.4")))
    assert addresses == ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]


def test_where_every_address_lies() -> None:
    """The pools, and what is held outside of them, put together; not without end, and no more once it is let go."""
    made = allocator(pool("10.0.0.0/29"), pool("fd00::/64"))
    pools = made.prefixes()
    assert list(map(str, pools)) == ["10.0.0.0/29", "fd00::/64"]
    outside = [ip_address(it) for it in ("192.0.2.4", "192.0.2.5", "10.0.0.2", "2001:db8::7")]
    made.hold(KEY, outside)
    assert list(map(str, made.prefixes()[2:])) == ["192.0.2.4/31", "2001:db8::7/128"]
    made.configure([pool("192.0.2.0/28")], {}, {})
    assert list(map(str, made.prefixes())) == ["192.0.2.0/28", "10.0.0.2/32", "2001:db8::7/128"]
    made.release(outside)
    assert list(map(str, made.prefixes())) == ["192.0.2.0/28"]
    made.hold(KEY, [ip_address(f"198.51.{number}.1") for number in range(200)])
    assert len(made.prefixes()) == 1 + ipam.OUTSIDE_MOST


def test_an_ipv6_pool_has_no_broadcast_address() -> None:
    """The last address of an IPv6 prefix is as good as any; the first two are the routers'."""
    assert every(allocator(pool("fd00::/126")), 6) == ["fd00::2", "fd00::3"]


@given(
    st.sampled_from(("10.0.0.0/30", "10.0.0.8/29", "10.0.0.16/28", "fd00::10/124")),
    st.sets(st.integers(0, 15), max_size=5),
)
def test_what_is_never_given_out_is_never_given_out(cidr: str, reserved: set[int]) -> None:
    """Whatever is reserved, a pool gives each other usable address exactly once."""
    network = ip_network(cidr)
    kept = {network[number] for number in reserved if number < network.num_addresses}
    addresses = every(allocator(pool(cidr, *map(str, kept))), network.version)
    usable = set(network) - {network[0], network[1]} - kept - ({network[-1]} if network.version == 4 else set())
    assert len(addresses) == len(set(addresses))
    assert set(map(ip_address, addresses)) == usable


def test_a_freed_address_is_not_given_again_while_others_are_free() -> None:
    """What was let go rests until the rest of the pool was given out."""
    from_ = allocator(pool("10.0.0.0/29"))
    first = take(from_)
    from_.release([first])
    assert every(from_) == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", str(first)]


def test_the_longest_freed_address_comes_first() -> None:
    """Once all were given out, what was let go first is given first."""
    from_ = allocator(pool("10.0.0.0/29"))
    every(from_)
    for text in ("10.0.0.5", "10.0.0.2", "10.0.0.4"):
        from_.release([ip_address(text)])
    assert every(from_) == ["10.0.0.5", "10.0.0.2", "10.0.0.4"]


def test_a_look_uses_up_nothing() -> None:
    """Picking without holding gives the same address again and leaves the pool as full as it was."""
    from_ = allocator(pool("10.0.0.0/24"))
    before = from_.usage()
    assert from_.pick(4) == from_.pick(4)
    assert from_.usage() == before


def test_a_full_pool_is_refused_with_its_name() -> None:
    """Who is refused reads which pools are full."""
    from_ = allocator(pool("10.0.0.0/30"), pool("10.0.1.0/30"))
    assert every(from_) == ["10.0.0.2", "10.0.1.2"]
    with pytest.raises(PoolExhausted, match=r"10\.0\.0\.0/30, 10\.0\.1\.0/30"):
        from_.pick(4)


def test_a_family_without_pools_has_no_address() -> None:
    """No pool of a family is not the same as a full one."""
    assert allocator(pool("10.0.0.0/24")).pick(6) is None


def test_a_family_that_the_cluster_is_to_serve_is_refused_until_it_does() -> None:
    """Nobody goes without an address of a family because the cluster had no prefix left for this node."""
    cluster = {"endpoints": ["http://192.0.2.1:2379"], "pools": [{"cidr": "10.128.0.0/14"}, {"cidr": "fd80::/48"}]}
    given = Settings.model_validate({"cluster": cluster}).model_copy(update={"pools": (pool("10.128.1.0/24"),)})
    from_ = allocator(*given.pools)
    from_.awaited = given.awaited_pools
    assert from_.pick(4) == ip_address("10.128.1.2")
    with pytest.raises(PoolExhausted, match="no prefix of fd80::/48 yet"):
        from_.pick(6)
    assert from_.pick(6, "10.128.1.0/24") is None


def test_a_pool_goes_on_where_it_stood() -> None:
    """Cursor and freed addresses that were stored make a restarted allocator give what the old one would have."""
    old = allocator(pool("10.0.0.0/29"))
    first, second = take(old), take(old)
    old.release([first])
    new = Allocator()
    new.hold(KEY, [second])
    new.configure([pool("10.0.0.0/29")], dict(old.cursors()), {"10.0.0.0/29": [first]})
    assert every(new) == every(old)


def test_other_pools_leave_what_is_held_held() -> None:
    """Reconfigured, a pool that stays goes on where it was, and what a lost pool gave stays its holder's."""
    from_ = allocator(pool("10.0.0.0/24"), pool("10.0.1.0/24"))
    first = take(from_)
    from_.configure([pool("10.0.1.0/24"), pool("10.0.2.0/24")], {}, {})
    assert from_.holder(first) == KEY
    assert from_.pool_of(first) is None
    from_.configure([pool("10.0.0.0/24", "10.0.0.3")], {}, {})
    assert from_.usage()[0].held == 1
    assert str(from_.pick(4)) == "10.0.0.4"


def test_a_static_address_in_use_or_not_for_workloads_is_refused() -> None:
    """A static address of another, the node's, the network's, the broadcast or a reserved one is refused."""
    from_ = allocator(pool("10.0.0.0/24", "10.0.0.9"), pool("fd00::/64"))
    held = take(from_)
    from_.check_static(held, KEY)
    from_.check_static(ip_address("192.0.2.7"), OTHER)
    with pytest.raises(AlreadyHeld, match="web/eth0"):
        from_.check_static(held, OTHER)
    for text in ("10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.0.9", "fd00::", "fd00::1"):
        with pytest.raises(InvalidRequest, match=text):
            from_.check_static(ip_address(text), OTHER)


def test_the_node_answers_from_its_address_in_the_same_pool() -> None:
    """A workload's counterpart on the node is the first address of its pool, or of any pool of the family."""
    from_ = allocator(pool("10.0.0.0/24"), pool("10.0.1.0/24"))
    assert str(from_.node_address(ip_address("10.0.1.7"))) == "10.0.1.1"
    assert str(from_.node_address(ip_address("192.0.2.7"))) == "10.0.0.1"
    assert from_.node_address(ip_address("fd00::7")) is None


def lines_of(work: Callable[[], Any]) -> int:
    """How many lines of Python the work takes: a measure of cost that no busy machine disturbs."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("cidr", ["10.0.0.0/8", "fd00::/64"])
def test_an_address_costs_the_same_whatever_the_pools_size(cidr: str) -> None:
    """Taking and releasing 200 addresses of a huge pool takes no more work than of a /24."""

    def churn(from_: Allocator) -> None:
        version = from_.pools[0].version
        taken = [take(from_, version) for _ in range(200)]
        from_.release(taken)

    small, large = allocator(pool("10.0.0.0/24")), allocator(pool(cidr))
    assert lines_of(lambda: churn(large)) <= lines_of(lambda: churn(small)) * 1.5


def test_a_full_pool_costs_no_walk() -> None:
    """Exhaustion is found without looking at the addresses again, and so is an address that was just freed."""
    from_ = allocator(pool("10.0.0.0/22"))
    addresses = every(from_)
    from_.release([ip_address(addresses[500])])
    assert lines_of(lambda: take(from_)) < 100
    with pytest.raises(PoolExhausted):
        lines_of(lambda: from_.pick(4))


def test_what_fell_off_the_list_of_freed_addresses_is_found_again_by_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """More freed addresses than are remembered are all given again, and the pool is not walked for each."""
    monkeypatch.setattr(ipam, "FREED_KEPT", 10)
    from_ = allocator(pool("10.0.0.0/22"))
    addresses = every(from_)
    from_.release([ip_address(address) for address in addresses[-200:]])
    walked = lines_of(lambda: every(from_))
    assert walked < 1024 * 50
    assert {from_.holder(ip_address(address)) for address in addresses} == {KEY}


def test_a_pool_that_never_comes_to_its_end_remembers_few_freed_addresses() -> None:
    """Attaching and detaching for years takes no memory, and gives no address a second time."""
    from_ = allocator(pool("fd00::/64"))
    addresses = []
    for _ in range(3 * ipam.FREED_KEPT_OF_ENDLESS):
        addresses.append(take(from_, 6))
        from_.release(addresses[-1:])
    assert sum(map(from_.is_freed, addresses)) == ipam.FREED_KEPT_OF_ENDLESS
    assert len(set(addresses)) == len(addresses)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reserving(*pools: Pool) -> tuple[Allocator, Clock]:
    """An allocator with a clock of its own, whose first two addresses were let go and are reserved for a minute."""
    clock = Clock()
    made = Allocator(clock)
    made.configure(pools, {}, {})
    let_go = [take(made), take(made)]
    made.release(let_go)
    for key, address in zip((KEY, OTHER), let_go, strict=True):
        made.reservations.make(made.reservations.proposed(key, [address], 60.0))
    return made, clock


def test_what_is_reserved_goes_to_whom_it_is_reserved_for() -> None:
    """Before what is free; once it is taken it is reserved no more."""
    from_, _ = reserving(pool("10.0.0.0/29"))
    assert str(from_.pick(4)) == "10.0.0.4"
    assert str(from_.pick(4, key=OTHER)) == "10.0.0.3"
    from_.hold(OTHER, [ip_address("10.0.0.3")])
    assert list(from_.reservations) == [ip_address("10.0.0.2")]


def test_what_is_reserved_is_given_to_others_when_nothing_else_is_left() -> None:
    """Also from a pool that comes later; then the longest reserved first."""
    from_, _ = reserving(pool("10.0.0.0/29"), pool("10.0.1.0/30"))
    assert every(from_) == [f"10.0.{end}" for end in ("0.4", "0.5", "0.6", "1.2", "0.2", "0.3")]
    assert list(from_.reservations) == []


def test_a_reservation_ends_with_its_time() -> None:
    """The address is then free as any other, and what is over goes with the next that is made."""
    from_, clock = reserving(pool("10.0.0.0/29"))
    clock.now = 60.0
    assert every(from_) == [f"10.0.0.{end}" for end in (4, 5, 6, 2, 3)]
    from_, clock = reserving(pool("10.0.0.0/29"))
    clock.now = 60.0
    assert from_.reservations.over() == [ip_address("10.0.0.2"), ip_address("10.0.0.3")]
    from_.reservations.make(from_.reservations.proposed(KEY, [ip_address("10.0.0.6")], 60.0))
    assert from_.reservations.over() == []


def test_what_is_reserved_is_only_given_by_a_pool_that_one_may_take_from() -> None:
    """A pod whose network names another pool now is given an address of that one; a static wish needs no pool."""
    named = Pool.model_validate({"cidr": "10.0.1.0/29", "name": "dmz"})
    from_, _ = reserving(pool("10.0.0.0/29"), named)
    assert str(from_.pick(4, "dmz", key=KEY)) == "10.0.1.2"
    from_.check_static(ip_address("10.0.0.2"), OTHER)


def test_reservations_cost_a_full_pool_no_walk_each() -> None:
    from_, _ = reserving(pool("10.0.0.0/22"))
    given = [take(from_) for _ in range(1019)]
    assert lines_of(lambda: take(from_)) < 200
    assert str(given[-1]) == "10.0.3.254"


def test_an_exclusive_pool_is_for_who_names_it() -> None:
    """Others have the rest, and none where there is no other; it cannot be for labels beside."""
    exclusive = Pool.model_validate({"cidr": "10.0.0.0/29", "name": "storage", "exclusive": True})
    from_ = allocator(exclusive, pool("10.0.1.0/29"))
    assert [str(from_.pick(4, name)) for name in ("", "storage", "10.0.0.0/29")] == ["10.0.1.2", "10.0.0.2", "10.0.0.2"]
    assert allocator(exclusive).pick(4) is None
    with pytest.raises(ValidationError, match="exclusive"):
        Pool.model_validate({"cidr": "10.0.0.0/29", "labels": {"a": "b"}, "exclusive": True})


POOLS = (pool("10.0.0.0/29", "10.0.0.3"), pool("10.0.1.0/30"), pool("fd00::/125"))


class AgainstNaive(RuleBasedStateMachine):
    """The allocator beside a model that keeps whole sets and does everything the slow way."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.real = allocator(*POOLS)
        self.held: set[IPAddress] = set()
        self.rested: dict[IPAddress, int] = {}
        self.clock = 0

    def usable(self, pools: Iterable[Pool], version: int) -> list[set[IPAddress]]:
        return [
            {
                address
                for address in p.cidr
                if address not in p.reserved
                and address not in (p.cidr[0], p.node_address)
                and (version == 6 or address != p.cidr[-1])
            }
            for p in pools
            if p.version == version
        ]

    @rule(target=taken, version=st.sampled_from((4, 6)))
    def pick(self, version: int) -> Any:
        free = [some - self.held for some in self.usable(self.real.pools, version)]
        try:
            picked = self.real.pick(version)
        except PoolExhausted:
            assert not any(free)
            return None
        if not self.usable(self.real.pools, version):
            assert picked is None
            return None
        first = next(some for some in free if some)
        assert picked in first
        fresh = {address for address in first if address not in self.rested}
        if fresh:
            assert picked in fresh
        self.real.hold(KEY, [picked])
        self.held.add(picked)
        self.rested.pop(picked, None)
        return picked

    @rule(address=consumes(taken))
    def release(self, address: IPAddress | None) -> None:
        if address is None:
            return
        self.real.release([address])
        self.held.discard(address)
        self.clock += 1
        if self.real.pool_of(address) is not None:
            self.rested[address] = self.clock

    @rule(text=st.sampled_from(("10.0.0.5", "10.0.0.6", "10.0.1.2", "fd00::5", "192.0.2.1")))
    def hold_static(self, text: str) -> None:
        address = ip_address(text)
        if address not in self.held:
            self.real.hold(OTHER, [address])
            self.real.release([address])
            self.clock += 1
            if self.real.pool_of(address) is not None:
                self.rested[address] = self.clock

    @precondition(lambda self: not self.rested)
    @rule(some=st.sets(st.sampled_from(POOLS), min_size=1))
    def reconfigure(self, some: set[Pool]) -> None:
        self.real.configure([p for p in POOLS if p in some], {}, {})

    @invariant()
    def usage_is_counted(self) -> None:
        for usage, p in zip(self.real.usage(), self.real.pools, strict=True):
            assert usage.held == sum(a.version == p.version and a in p.cidr for a in self.held)
            (usable,) = self.usable([p], p.version)
            assert usage.size == len(usable)

    @invariant()
    def holders_are_known(self) -> None:
        assert all(self.real.holder(address) == KEY for address in self.held)


TestAgainstNaive = AgainstNaive.TestCase
TestAgainstNaive.settings = settings(max_examples=50, stateful_step_count=40)


def test_what_is_somebody_elses_is_passed_over_until_it_is_not() -> None:
    """Stretches are passed over in one step, a pool of nothing else is exhausted, and what is nobody's is found."""
    pool = Pool.model_validate({"cidr": "10.9.0.0/29"})
    endless = Pool.model_validate({"cidr": "fd09::/64"})
    from_ = Allocator()
    from_.configure([pool, endless], {}, {})
    at, at6 = int(pool.cidr.network_address), int(endless.cidr.network_address)
    from_.surround({pool.prefix: ((at + 2, at + 3), (at + 5, at + 6)), endless.prefix: ((at6 + 2, at6 + (1 << 62)),)})
    assert str(from_.pick(4)) == "10.9.0.4"
    assert str(from_.pick(6)) == "fd09::4000:0:0:1"
    from_.hold(KEY, [ip_address("10.9.0.4")])
    from_.hold(KEY, [ip_address("10.9.0.3")])  # that of another, which was meant
    with pytest.raises(PoolExhausted):
        from_.pick(4)
    from_.surround({pool.prefix: ((at + 5, at + 5),)})
    assert str(from_.pick(4)) == "10.9.0.2"
    from_.hold(KEY, [ip_address("10.9.0.2"), ip_address("10.9.0.6")])
    with pytest.raises(PoolExhausted):
        from_.pick(4)
    from_.release([ip_address("10.9.0.6")])
    assert str(from_.pick(4)) == "10.9.0.6"
