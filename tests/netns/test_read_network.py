"""The node's network is read whole where that is little, and what people set of it where it is much."""

from __future__ import annotations

import subprocess

from netplumb.reconciler.kernel.rtnetlink.nodenetwork import read_network

MANY = 3_000
MOST = 500


def ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)


def test_a_large_table_is_read_up_to_a_bound() -> None:
    """Routes of a routing daemon are left out then, and told to be; a default route and people's own are there."""
    ip(
        "link add v0 type veth peer name v1",
        "link set v0 up",
        "link set v1 up",
        "address add 192.0.2.1/24 dev v0",
        "route add default via 192.0.2.2 proto bird",
        "route add 203.0.113.0/24 via 192.0.2.3 proto static",
    )
    ip(*(f"route add 100.{64 + n // 256}.{n % 256}.0/24 via 192.0.2.4 proto bird" for n in range(MANY)))
    whole, part = read_network(), read_network(MOST)
    assert whole.complete
    assert len(whole.routes) > MANY
    assert not part.complete
    assert len(part.routes) < 2 * MOST
    assert {"0.0.0.0/0", "192.0.2.0/24", "203.0.113.0/24"} <= {str(route.dst) for route in part.routes}
