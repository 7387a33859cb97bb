"""Which addresses the kernel says are its own, when it is asked of each by itself."""

from __future__ import annotations

from ipaddress import ip_address

from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink.routelookups import ends_here
from tests.e2e.hosts import temporary

OWN_V4, OWN_V6, ENDED, OTHER_V4, OTHER_V6 = map(ip_address, ("10.9.0.2", "fd09::2", "10.9.0.90", "10.9.0.3", "fd09::3"))


def test_an_address_is_the_nodes_own_before_its_duplicates_are_looked_for() -> None:
    """While it is tentative the kernel has no route to it."""
    with temporary("looking") as host:
        host.ip("link add eth0 type veth peer name eth1")
        for line in ("link set lo up", "link set eth0 up", "link set eth1 up"):
            host.ip(line)
        host.ip(f"address add {OWN_V4}/24 dev eth0")
        host.ip(f"route add blackhole {ENDED}")
        with host.enter(), Channel() as channel:
            host.ip(f"address add {OWN_V6}/64 dev eth0")
            found = ends_here(channel, [OWN_V4, OTHER_V4, ENDED, OWN_V6, OTHER_V6])
    assert set(found) == {OWN_V4, ENDED, OWN_V6}
