"""What the kernel holds in one namespace, as `ip` tells it and none of netplumb's own code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from tests.e2e.hosts import COMMAND_TIMEOUT_S, Host, Listing

OURS = "78"  # the protocol that marks our routes and neighbours
_BOTH = "link show\naddress show\nroute show table all\nneighbour show nud permanent\nneighbour show proxy\nrule show\n"
_V6 = "route show table all\nrule show\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """`routes` and `rules` are those of both families."""

    links: dict[str, dict[str, Any]]
    addresses: Listing
    routes: Listing
    neighbours: Listing
    proxies: Listing
    rules: Listing

    def addresses_on(self, link: str) -> set[str]:
        """Less those that the kernel gives by itself; the first hop's has link scope."""
        return {
            address["local"]
            for address in self.addresses
            if address["dev"] == link
            and address["scope"] != "host"
            and not (ip_address(address["local"]).version == 6 and address["scope"] == "link")
        }

    def routes_of_ours(self) -> Listing:
        return [route for route in self.routes if route.get("protocol") == OURS]


def read(host: Host) -> Reading:
    links, addressed, v4_routes, neighbours, proxies, v4_rules = _asked(host, (), _BOTH)
    v6_routes, v6_rules = _asked(host, ("-6",), _V6)
    return Reading(
        {link["ifname"]: link for link in links},
        [{"dev": link["ifname"], **info} for link in addressed for info in link.get("addr_info", ())],
        v4_routes + v6_routes,
        neighbours,
        proxies,
        v4_rules + v6_rules,
    )


def _asked(host: Host, options: tuple[str, ...], questions: str) -> list[Listing]:
    words = ["ip", "-n", host.name, "-details", "-json", *options, "-batch", "-"]
    done = subprocess.run(
        words, input=questions, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise LookupError(f"{host.name} cannot be read: {done.stderr.strip()}")
    answers = [[entry for entry in answer if entry] for answer in _documents(done.stdout)]
    assert len(answers) == questions.count("\n"), done.stdout
    return answers


def _documents(text: str) -> Iterator[Listing]:
    """The answers, which stand one after the other."""
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        answer, position = decoder.raw_decode(text, position)
        yield answer
