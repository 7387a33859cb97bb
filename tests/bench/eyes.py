"""Reads the kernel from outside the daemon: another process, sockets of its own, and `nft`'s and /proc's own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.bandwidth import NO_LIMITS, Bandwidth
from netplumb.models.errors import NotANetworkNamespace, StepError
from netplumb.models.kernel import (
    RT_PROTOCOL,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    Address,
    KernelObject,
    Link,
    Route,
    Rule,
    Scope,
)
from netplumb.models.naming import workload_mac
from netplumb.reconciler.converge.observe import observe
from netplumb.reconciler.kernel.namespaces import LO_INDEX, NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import attributes
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.damage.table import Damage, Group
from tests.damage.victims import FORWARDING, LIMITS, Victim, table_words
from tests.e2e.hosts import Host

Sight = frozenset[object]
_OF_THE_KERNEL = (RT_TABLE_LOCAL, RT_TABLE_MAIN, 253)
NOTHING: Sight = frozenset()


class Eyes:
    """Sees one part of the node or one attachment at a time. The calling thread is on the node."""

    def __init__(self, node: Host, namespaces: Namespaces, channel: Channel) -> None:
        self._node = node
        self._namespaces = namespaces
        self._channel = channel

    def see(self, damage: Damage, victim: Victim) -> Sight:
        """All that this kind of damage can touch, as it is now."""
        match damage.group:
            case Group.ATTACHMENT:
                return self.attachment(victim)
            case Group.LOOPBACK:
                return self._loopback() | self._routes()
            case Group.RULES:
                return frozenset(rule.key for rule in self._rules_in_front())
            case Group.FORWARDING:
                return frozenset((name, Path("/proc/sys", name).read_text()) for name in FORWARDING)
            case Group.TABLE | Group.POLICIES:
                return frozenset(Counter(table_words(self._node)).items())

    def idle_request(self) -> float:
        """How long the kernel takes for a request that changes nothing: more than a tenth of a millisecond is how long
        others on this machine kept RTNL, the one lock of all network namespaces."""
        started = perf_counter()
        self._channel.transact(encodelinks.set_up(LO_INDEX))
        return perf_counter() - started

    def attachment(self, victim: Victim) -> Sight:
        """What is ours of one attachment, on both sides; nothing while its namespace is not there."""
        try:
            namespace = self._namespaces.open(victim.workload.path)
        except (NamespaceMissingError, NotANetworkNamespace):
            return NOTHING
        try:
            observed = observe(self._channel, namespace.channel, _attachment(victim))
            return frozenset(_stable(thing) for thing in observed.objects.values() if _is_ours(thing))
        except StepError:
            return NOTHING  # a link that went between two reads
        finally:
            namespace.close()

    def _loopback(self) -> Sight:
        (reply,) = self._channel.transact([encodelinks.get_link_by_index(LO_INDEX)])
        _, up = decode.link(Scope.NODE, reply.parts[0][1])
        addresses = dumps.addresses(self._channel, Scope.NODE, {LO_INDEX: "lo"})
        return frozenset((up, *(address for address in addresses if _is_ours(address))))

    def _rules_in_front(self) -> list[Rule]:
        """Those of ours that none of others, of their family, stands before."""
        first: dict[int, int] = {}
        for rule in dumps.foreign_rules(self._channel):
            if rule.table not in _OF_THE_KERNEL:
                first[rule.version] = min(rule.preference, first.get(rule.version, rule.preference))
        ours = dumps.rules(self._channel, Scope.NODE)
        return [it for it in ours if it.preference < first.get(4 if len(it.dst or b"") == 4 else 6, it.preference + 1)]

    def _routes(self) -> Sight:
        """Every route of ours, by its destination and the source that it prefers."""
        found = set()
        for family in (rt.AF_INET, rt.AF_INET6):
            for _, body in self._channel.dump(rt.RTM_GETROUTE, encode.dump_routes(family, protocol=RT_PROTOCOL)):
                of_route = attributes(body, rt.RTMSG.size)
                found.add((bytes(of_route[rt.RTA_DST]), bytes(of_route.get(rt.RTA_PREFSRC, b""))))
        return frozenset(found)


def _attachment(victim: Victim) -> Attachment:
    """As much of its record as a read needs."""
    spec = AttachmentSpec(
        workload_id=victim.key.workload_id,
        netns=NetnsRef(path=victim.workload.path),
        if_name=victim.key.if_name,
        bandwidth=Bandwidth(**LIMITS) if victim.port else NO_LIMITS,
    )
    return Attachment(spec=spec, source="rpc", addresses=(), mac=workload_mac(victim.key))


def _stable(thing: KernelObject) -> KernelObject:
    """An ifb that is made anew has another MAC address, by chance."""
    return replace(thing, mac=None) if isinstance(thing, Link) and thing.kind == "ifb" else thing


def _is_ours(thing: KernelObject) -> bool:
    return not isinstance(thing, Address | Route) or thing.protocol == RT_PROTOCOL


@contextmanager
def eyes(node: Host) -> Iterator[Eyes]:
    """Eyes on the node, where the calling thread stays meanwhile."""
    with node.enter(), Channel() as channel:
        namespaces = Namespaces()
        try:
            yield Eyes(node, namespaces, channel)
        finally:
            namespaces.close()
