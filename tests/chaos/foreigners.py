"""What is not netplumb's: objects of every kind, put on the node and into workloads, that must stay as they were put.

Some carry one of our marks, since one alone does not make an object ours.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.readings import OURS, Reading, read
from tests.e2e.hosts import COMMAND_TIMEOUT_S, LINK_FIELDS, Host

_EVERYWHERE = (
    "link add theirs0 type veth peer name theirs1",
    "link set theirs0 alias theirs",
    "link set theirs0 up",
    "link set theirs1 up",
    "address add 198.51.100.1/24 dev theirs0",
    "address add 2001:db8:f::1/64 dev theirs0 nodad",
    "address add 198.51.100.77/32 dev lo",
    "route add 203.0.113.0/24 dev theirs0 proto static",
    "route add 2001:db8:f:1::/64 dev theirs0 proto static",
    "route add 203.0.113.0/24 dev theirs0 table 100",
    "rule add from 198.51.100.0/24 lookup 100 priority 1000",
    "neighbour add 198.51.100.9 lladdr 02:00:00:00:00:09 dev theirs0 nud permanent",
    "neighbour add proxy 198.51.100.10 dev theirs0",
)
_ON_THE_NODE = (
    "link add np-theirs type veth peer name theirs2",  # our prefix
    "link add theirs3 group 28272 type veth peer name theirs4",  # our group
    "link add theirs5 type veth peer name theirs6",
    "link set theirs5 alias netplumb:eth0:nobody",  # our alias
)
_V6_RULE = "-6 rule add from 2001:db8:f::/64 lookup 100 priority 1000"
THEIRS_ON_LO = "198.51.100.77"
_TABLE = "add table inet theirs; add chain inet theirs mine; add rule inet theirs mine counter accept"
_OWN_LINKS = ("theirs", "np-theirs")


@dataclass(slots=True)
class Foreigners:
    """Those of one namespace."""

    host: Host
    on_node: bool = False
    _put: set[str] = field(default_factory=set)
    _table: str = ""
    _added: int = 0

    def settle(self) -> None:
        """Puts one of each kind."""
        self._batch(*_EVERYWHERE, *(_ON_THE_NODE if self.on_node else ()))
        self.host.ip(_V6_RULE)
        self.host.run(f"nft '{_TABLE}'")
        self._table = self._listed()
        self._put = set(_theirs(read(self.host)))

    def _batch(self, *lines: str) -> None:
        words = ["ip", "-n", self.host.name, "-batch", "-"]
        text = "\n".join(lines)
        subprocess.run(words, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)

    def add(self, kind: int) -> None:
        """Puts one more, of a kind that the number chooses."""
        self._added += 1
        n = self._added % 200
        lines = (
            f"address add 198.51.100.{n + 20}/32 dev theirs0",
            f"route add 203.0.113.{n}/32 dev theirs1 proto static",
            f"rule add from 203.0.113.{n} lookup 100 priority {1000 + n}",
            f"neighbour add 203.0.113.{n} lladdr 02:00:00:00:01:{n:02x} dev theirs1 nud permanent",
            f"route add 2001:db8:f:2::{n:x}/128 dev theirs1 proto static",
        )
        self.host.ip(lines[kind % len(lines)])
        self._put = set(_theirs(read(self.host)))

    def missing(self, reading: Reading) -> Iterator[str]:
        """What was put and is no longer as it was, in words."""
        for entry in sorted(self._put - set(_theirs(reading))):
            yield f"{self.host.name}: foreign object changed or gone: {entry}"
        if (table := self._listed()) != self._table:
            yield f"{self.host.name}: foreign nftables table is now: {table}"

    def _listed(self) -> str:
        return self.host.run("nft -s list table inet theirs", ok=False)


def _theirs(reading: Reading) -> Iterator[str]:
    """Each foreign object on one line, less what the kernel changes by itself."""
    links = [
        {name: link.get(name) for name in LINK_FIELDS} | {"flags": "UP" in link["flags"]}
        for link in reading.links.values()
        if _is_theirs(link["ifname"])
    ]
    yield from _lines("link", links)
    fields = ("dev", "local", "prefixlen", "scope")
    addresses = (
        {name: entry.get(name) for name in fields}
        for entry in reading.addresses
        if (_is_theirs(entry["dev"]) and entry["scope"] == "global") or entry["local"] == THEIRS_ON_LO
    )
    yield from _lines("address", addresses)
    routes = (r for r in reading.routes if r.get("protocol") in ("static", "boot") and _is_theirs(r.get("dev", "")))
    yield from _lines("route", routes)
    yield from _lines("neighbour", (entry for entry in reading.neighbours if _is_theirs(entry["dev"])))
    yield from _lines("proxy neighbour", (entry for entry in reading.proxies if _is_theirs(entry["dev"])))
    yield from _lines("rule", (rule for rule in reading.rules if rule.get("protocol") not in ("kernel", OURS)))


def _is_theirs(link: str) -> bool:
    return link.startswith(_OWN_LINKS)


def _lines(kind: str, entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (f"{kind} {json.dumps(entry, sort_keys=True)}" for entry in entries)
