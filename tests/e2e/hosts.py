"""A network namespace that plays a machine or a workload, and what tests look at and break in it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests import namespaces

Listing = list[dict[str, Any]]

COMMAND_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Host:
    """Known by the name of its namespace in /run/netns, which may be made anew under it."""

    name: str

    @property
    def path(self) -> str:
        return str(namespaces.NETNS_DIR / self.name)

    @property
    def exists(self) -> bool:
        return Path(self.path).exists()

    def create(self) -> Host:
        namespaces.create(self.name)
        return self

    def remove(self) -> None:
        namespaces.remove(self.name)

    def remake(self) -> None:
        """Another namespace at the same path."""
        self.remove()
        self.create()

    def enter(self) -> AbstractContextManager[None]:
        return namespaces.enter(self.path)

    def command(self, *words: str) -> list[str]:
        """The words of a program as they are run in this namespace."""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def run(self, line: str, *, ok: bool = True, within_s: float = COMMAND_TIMEOUT_S) -> str:
        """Runs a program here, and returns what it wrote; its failure is the test's, unless it need not be ok."""
        words = self.command(*shlex.split(line))
        done = subprocess.run(words, capture_output=True, text=True, timeout=within_s, check=False)
        if ok and done.returncode != 0:
            raise AssertionError(f"{self.name}: {line}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout + done.stderr

    def ip(self, line: str) -> Listing:
        """`ip`'s answer as it gives it in JSON; empty for a command that lists nothing."""
        words = ["ip", "-n", self.name, "-json", "-details", *shlex.split(line)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{self.name}: ip {line}: {done.stderr.strip()}")
        found: Listing = json.loads(done.stdout) if done.stdout.strip() else []
        return [entry for entry in found if entry]

    def links(self) -> dict[str, dict[str, Any]]:
        return {link["ifname"]: link for link in self.ip("link")}

    def link(self, name: str) -> dict[str, Any]:
        return self.links()[name]

    def addresses(self, link: str) -> set[str]:
        """Addresses with their prefix lengths, as text, less the link-local ones that the kernel gives by itself."""
        return {
            f"{info['local']}/{info['prefixlen']}"
            for entry in self.ip(f"address show dev {link}")
            for info in entry.get("addr_info", ())
            if not ip_address(info["local"]).is_link_local or info["prefixlen"] == 32
        }

    def routes(self) -> Listing:
        """Routes of both families in the main table."""
        return self.ip("-4 route") + self.ip("-6 route")

    def route(self, dst: str) -> dict[str, Any] | None:
        """The route to a destination as `ip` writes it, None where there is none."""
        family = "-6" if ":" in dst else "-4"
        return next((route for route in self.ip(f"{family} route") if route["dst"] == dst), None)

    def default_route(self, version: int) -> dict[str, Any] | None:
        return next(iter(self.ip(f"-{version} route show default")), None)

    def neighbours(self, link: str) -> dict[str, dict[str, Any]]:
        return {entry["dst"]: entry for entry in self.ip(f"neighbour show dev {link} nud all")}

    def proxy_neighbours(self) -> set[tuple[str, str]]:
        return {(entry["dst"], entry["dev"]) for entry in self.ip("neighbour show proxy")}

    def sysctl(self, name: str) -> str:
        """A switch below /proc/sys, named with slashes."""
        with self.enter():
            return Path("/proc/sys", name).read_text().strip()

    def set_sysctl(self, name: str, value: str) -> None:
        with self.enter():
            Path("/proc/sys", name).write_text(value)

    def ruleset(self) -> str:
        return self.run("nft -s list ruleset")

    def ping(self, address: str, *, source: str = "", count: int = 1) -> bool:
        """Whether every echo request was answered."""
        origin = f"-I {source}" if source else ""
        said = self.run(f"ping -n -c {count} -i 0.05 -W 2 {origin} {address}", ok=False)
        return " 0% packet loss" in said


@contextmanager
def temporary(name: str) -> Iterator[Host]:
    host = Host(name).create()
    try:
        yield host
    finally:
        host.remove()


LINK_FIELDS = ("ifindex", "ifname", "address", "mtu", "group", "ifalias", "flags", "link_index", "link_netnsid")
ADDRESS_FIELDS = ("local", "prefixlen", "scope")


def kernel_state(*hosts: Host) -> set[str]:
    """Every link, address, route and permanent neighbour, with the link's index: equal only where nothing was made
    anew. Left out is what changes by itself, such as whether an address is tentative."""
    found: set[str] = set()
    for host in hosts:
        entries: Listing = []
        for link in host.ip("address"):
            entries.append({field: link.get(field) for field in LINK_FIELDS})
            for info in link["addr_info"]:
                entries.append({"ifindex": link["ifindex"]} | {field: info[field] for field in ADDRESS_FIELDS})
        for line in ("-4 route show table all", "-6 route show table all"):
            # What the kernel derives from an address comes late for those that it gives by itself.
            entries += [route for route in host.ip(line) if route["protocol"] != "kernel"]
        for line in ("neighbour show nud permanent", "neighbour show proxy"):
            entries += host.ip(line)
        found.update(f"{host.name}: {json.dumps(entry, sort_keys=True)}" for entry in entries)
    return found
