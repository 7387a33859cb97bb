"""Our third nftables table, `inet netplumb-remote`, while gRPC is served to clients elsewhere: it bounds how many
connections a second one address may begin to that port.

gRPC takes connections of all its servers in the same threads, before any certificate is asked for, so that who opens
thousands would make the node's own clients wait. Whom the table bounds is in sets that strangers make large, so it is
apart from the one that is read and compared. Nobody else can change it (`owner`, Linux 5.12), and it goes with the
daemon. A network is counted as one where it is all one host's to choose from (IPv6, /64), and the node itself never.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import structlog

from netplumb.models.errors import StepError
from netplumb.models.listenaddress import TcpAddress
from netplumb.models.nft import REMOTE_TABLE
from netplumb.reconciler.kernel.nftables.libnftables import Libnftables

BURST_S = 5
"""So many seconds' worth may come at once: clients that all come back after a restart, from behind one address."""
_KEPT = 65535
"""Addresses that are counted at a time; any more are let in."""

log = structlog.get_logger(__name__)


@contextmanager
def bounded(address: TcpAddress, per_s: int) -> Iterator[None]:
    """For as long as it lasts. A kernel that has no such table is told of in the log, and nobody is bounded."""
    nft = Libnftables()
    try:
        try:
            nft.run_text(_table(address, per_s))
        except StepError as error:
            log.warning("remote clients may begin any number of connections", cause=str(error))
        yield
    finally:
        nft.close()


def _table(address: TcpAddress, per_s: int) -> str:
    begins = f"iiftype != loopback tcp dport {address.port} tcp flags & (fin | syn | rst | ack) == syn"
    over = f"limit rate over {per_s}/second burst {BURST_S * per_s} packets"
    sets, rules = "", ""
    for family, whose, version in (("ip", "ip saddr", 4), ("ip6", "ip6 saddr & ffff:ffff:ffff:ffff::", 6)):
        if address.ip.is_unspecified:
            served = begins
        elif address.ip.version == version:
            served = f"{family} daddr {ip_address(address.ip.packed)} {begins}"  # without its zone, fe80::1%eth0
        else:
            continue
        name = f"begun{version}"
        sets += f"set {name} {{ type ipv{version}_addr; flags dynamic; timeout 1m; size {_KEPT}; }}\n"
        rules += f"{served} update @{name} {{ {whose} {over} }} counter drop\n"
    hook = "type filter hook input priority filter - 10;"
    return f"table inet {REMOTE_TABLE} {{\nflags owner;\n{sets}chain input {{\n{hook}\n{rules}}}\n}}\n"
