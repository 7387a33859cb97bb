"""A node with workloads, with things that are not netplumb's, and with a daemon whose operating system can be made to
fail; and what the kernel holds of all that, as one picture that can be compared."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import workload_mac
from tests import namespaces
from tests.e2e.conftest import UPLINK, MakeHost
from tests.e2e.faultydaemons import WITHIN_S, FaultyDaemon
from tests.e2e.hosts import COMMAND_TIMEOUT_S, Host
from tests.e2e.waiting import STEP_S, comes_true
from tests.e2e.wishes import attach, detach, texts

Picture = frozenset[str]

LISTINGS = "address show\nroute show table all\nneighbour show nud permanent\nneighbour show proxy\n"
LINK_FIELDS = ("ifname", "address", "mtu", "group", "ifalias", "flags", "qdisc", "inet6_addr_gen_mode")
ADDRESS_FIELDS = ("local", "prefixlen", "scope", "protocol")
CARRIER = {"LOWER_UP", "NO-CARRIER", "linkdown"}  # told by the kernel's link watch, up to a second later
SWITCHES = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


@dataclass(slots=True)
class Site:
    """`web` is attached, damaged and detached; `keeper` is attached all the time and nobody touches it."""

    node: Host
    web: Host
    spare: Host
    keeper: Host
    daemon: FaultyDaemon
    client: AsyncClient
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def attach(self, host: Host, workload_id: str = "", **wish: Any) -> tuple[str, ...]:
        """Attaches and returns the addresses. What was answered is known from then on by the name of its workload."""
        request = attach(host, workload_id, **wish)
        answer = texts(await self.client.attach(request, timeout_s=WITHIN_S))
        self.addresses[request.workload_id] = answer
        return answer

    async def detach(self, workload_id: str) -> None:
        await self.client.detach(detach(workload_id), timeout_s=WITHIN_S)
        self.addresses.pop(workload_id, None)

    def given(self, name: str) -> set[str]:
        """The addresses that the workload has now, whatever is said of it."""
        host = Host(name)
        return {address.partition("/")[0] for address in host.addresses("eth0")} if "eth0" in host.links() else set()

    async def found(self, workload_id: str) -> pb.Attachment | None:
        return next((found for found in await self.all() if found.workload_id == workload_id), None)

    async def all(self) -> list[pb.Attachment]:
        return [attachment async for attachment in self.client.list()]

    async def settled(self) -> bool:
        """Whether the daemon has nothing left to do, and says that all is as desired."""
        attachments = await self.all()
        for each in attachments:
            self.addresses[each.workload_id] = tuple(each.addresses)
        return (
            all(each.phase == "Attached" and each.observed_generation == each.generation for each in attachments)
            and not (await self.client.plan()).changes
            and not (await self.client.status()).queue_length
        )

    async def settles(self) -> None:
        if not await comes_true(self.settled, within_s=WITHIN_S):
            changes = [f"{change.verb} {change.words}" for change in (await self.client.plan()).changes]
            phases = [f"{each.workload_id}: {each.phase}" for each in await self.all()]
            raise AssertionError("\n".join(("all is not as desired:", *phases, *changes)))

    async def held_addresses(self) -> int:
        return sum(pool.held for pool in (await self.client.status()).pools)

    def picture(self) -> Picture:
        names = {
            address: f"<{workload_id} {number}>"
            for workload_id, addresses in self.addresses.items()
            for number, address in enumerate(addresses)
        }
        for workload_id, addresses in self.addresses.items():  # a MAC follows from them
            key = AttachmentKey(workload_id, "eth0")
            names[workload_mac(key, tuple(map(ip_address, addresses)))] = f"<{workload_id} MAC>"
        return picture(self.node, self.web, self.spare, names=names)

    def picture_of_what_stays(self) -> Picture:
        """The keeper and what is foreign, with the indexes of links: equal only where nothing was made anew."""
        lines = {f"{self.keeper.name}: {line}" for line in _listing(self.keeper, {}, indexes=True)}
        for host in (self.node, self.web):
            lines |= {
                f"{host.name}: {line}"
                for line in _listing(host, {}, indexes=True)
                if "foreign" in line or "keeper" in line
            }
        return frozenset(lines)


def picture(node: Host, *workloads: Host, names: Mapping[str, str]) -> Picture:
    """All that the kernel holds of the hosts, without what differs from one time to the next: indexes, and addresses
    that a workload happened to get, which are called by the names given."""
    lines = {f"namespace {path.name}" for path in namespaces.NETNS_DIR.iterdir()}
    lines |= {f"{switch} = {node.sysctl(switch)}" for switch in SWITCHES}
    lines |= {f"nft {count} {line}" for line, count in _ruleset(node, names).items()}
    lines |= {f"tc {line}" for line in _shaping(node)}
    for host in (node, *workloads):
        lines |= {f"{host.name}: {line}" for line in _listing(host, names)}
    return frozenset(lines)


def _named(text: str, names: Mapping[str, str]) -> str:
    for address, name in names.items():
        text = re.sub(rf"(?<![\w.:]){re.escape(address)}(?![\w.:])", name, text)
    return text


def _listing(host: Host, names: Mapping[str, str], *, indexes: bool = False) -> Iterator[str]:
    words = ["ip", "-n", host.name, "-json", "-details", "-batch", "-"]
    done = subprocess.run(words, input=LISTINGS, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    links, *rest = (json.loads(line) for line in done.stdout.splitlines())
    fields = (*LINK_FIELDS, *(("ifindex", "link_index") if indexes else ()))
    entries: list[dict[str, Any]] = []
    for link in links:
        if link.get("linkinfo", {}).get("info_kind") == "ifb":
            link["address"] = "any"  # drawn by the kernel
        entries.append({name: link.get(name) for name in fields})
        entries += (
            {"dev": link["ifname"]} | {name: info.get(name) for name in ADDRESS_FIELDS}
            for info in link["addr_info"]
            if not info["local"].startswith("fe80:")  # given by the kernel, and when it likes
        )
    entries += (entry for listed in rest for entry in listed if entry.get("protocol") != "kernel")
    for entry in entries:
        if "flags" in entry:
            entry["flags"] = sorted(set(entry["flags"]) - CARRIER)
    return (_named(json.dumps(entry, sort_keys=True), names) for entry in entries)


def _shaping(node: Host) -> Iterator[str]:
    """Queueing disciplines and the filters of what comes in; a link may go between the two looks."""
    for line in node.run("tc qdisc show").splitlines():
        yield line
        words = line.split()
        if words[1] == "ingress":
            link = words[words.index("dev") + 1]
            for filter_ in node.run(f"tc filter show dev {link} ingress", ok=False).splitlines():
                yield f"{link}: {re.sub('index [0-9]+', '', filter_)}"


def _ruleset(node: Host, names: Mapping[str, str]) -> dict[str, int]:
    """The ruleset in pieces, each with how often it is there: elements are listed in no order. The name of the program
    that owns a table is left out, which nft does not find while that ends."""
    counted: dict[str, int] = {}
    for piece in re.split(r"[,{}\n]", re.sub("# progname .*", "", _named(node.ruleset(), names))):
        if word := piece.strip():
            counted[word] = counted.get(word, 0) + 1
    return counted


def place_foreign_things(node: Host, web: Host) -> None:
    """What others have put on the node and into a workload."""
    for host in (node, web):
        host.ip("link add foreign0 type veth peer name foreign1")
        for link in ("foreign0", "foreign1"):
            host.ip(f"link set {link} addrgenmode none")
            host.ip(f"link set {link} up")
        host.ip("address add 198.51.100.1/24 dev foreign0")
        host.ip("-4 route add 203.0.113.0/24 via 198.51.100.9 dev foreign0 proto static")
        host.ip("-6 route add 2001:db8:77::/48 dev foreign0 proto static")
        host.ip("neighbour add 198.51.100.9 lladdr 02:00:00:00:00:09 dev foreign0 nud permanent")
    node.run("nft add table inet foreign")
    node.run("nft 'add chain inet foreign input { type filter hook input priority 0 ; }'")
    node.run("nft add rule inet foreign input tcp dport 9 counter drop")


@asynccontextmanager
async def opened(node: Host, make_host: MakeHost, directory: Path) -> AsyncIterator[Site]:
    """The site with its keeper attached. Whatever happened at it, the keeper and what is foreign were left alone."""
    web, spare, keeper = (make_host(name) for name in ("web", "spare", "keeper"))
    daemon = FaultyDaemon(node, directory)
    try:
        for host in (web, spare, keeper):
            host.ip("link set lo up")  # as it stays when a workload is detached
        # That of links to come, and no default that a failed read could fall back on.
        node.ip(f"link set {UPLINK} mtu 1450")
        place_foreign_things(node, web)
        await daemon.start()
        async with daemon.client(timeout_s=WITHIN_S) as client:
            site = Site(node, web, spare, keeper, daemon, client)
            await site.attach(keeper)
            await site.settles()
            before = site.picture_of_what_stays()
            yield site
            assert site.picture_of_what_stays() == before
    finally:
        daemon.end()


async def comes_to(site: Site, expected: Picture, what: str, *, within_s: float = WITHIN_S) -> None:
    """Waits until the kernel is as in the picture, and says what differs if it does not come to that."""
    ends = time.monotonic() + within_s
    while (now := site.picture()) != expected:
        if time.monotonic() > ends:
            missing, extra = sorted(expected - now), sorted(now - expected)
            raise AssertionError(f"{what}:\nmissing: " + "\n".join(missing) + "\nextra: " + "\n".join(extra))
        await asyncio.sleep(STEP_S)
