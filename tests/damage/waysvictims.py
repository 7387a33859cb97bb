"""Two nodes, of which the ways of one to the other are damaged: what stands for the words in the table's commands."""

from __future__ import annotations

from netplumb.models.naming import node_mac
from tests.e2e.nodes import DEVICE, UNDERLAY, Machine


def words_between(one: Machine, other: Machine) -> dict[str, str]:
    return {
        "dev": DEVICE,
        "link": UNDERLAY,
        "v4": other.prefixes[0],
        "v6": other.prefixes[1],
        "gw": other.prefixes[0].partition("/")[0],
        "mac": node_mac(other.name).hex(":"),
        "at": other.underlay[0],
        "at6": other.underlay[1],
        "node_v4": one.own_v4,
        "node_v6": one.own_v6,
    }
