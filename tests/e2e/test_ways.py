"""Workloads on several nodes reach each other, by routes and by VXLAN, over either IP version; and nothing that happens
to a node or to its daemon makes them forget how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.echoes import ask, serving
from tests.e2e.nodes import GATEWAY_V4, GATEWAY_V6, running
from tests.e2e.wishes import v4, v6

GROUNDS = [(mode, families) for mode in ("routes", "vxlan") for families in ((4, 6), (4,), (6,))]


@pytest.mark.parametrize(("mode", "families"), GROUNDS, ids=str)
async def test_workloads_on_two_nodes_reach_each_other_as_who_they_are(
    directory: Path, mode: str, families: tuple[int, ...]
) -> None:
    """TCP and UDP, both IP versions, and each sees the other's own address, though both nodes masquerade what goes to
    anybody else. So do the nodes themselves, from their addresses in their prefixes."""
    async with running(2, mode, directory, families=families) as lan:
        one, other = lan.machines
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        # An IPv6 prefix cannot be routed by an IPv4 address.
        versions = [(v4, "10.128.1.1")] + ([(v6, one.own_v6)] if (mode, families) != ("routes", (4,)) else [])
        with serving(db, 81), serving(lan.outside, 82):
            for address, node_address in versions:
                for protocol in ("tcp", "udp"):
                    assert ask(web, address(db_has), 81, protocol) == f"db {address(web_has)}"
                    assert ask(one.host, address(db_has), 81, protocol) == f"db {node_address}"
            for version, gateway in ((4, GATEWAY_V4), (6, GATEWAY_V6)):
                if version in families:
                    own = one.underlay[families.index(version)]
                    assert ask(web, gateway, 82) == f"lan {own}"
        await lan.settled()
