"""One namespace as a trace sees it: its links, routes, rules, firewalls and sockets. A thin edge: it reads, and judges
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property

from netplumb.models.base import IPAddress
from netplumb.models.lookups import Lookup, Question
from netplumb.models.nodenetwork import EndingRoute, NodeAddress
from netplumb.models.nodestate import Carrier, LinkProgram, LinkState, SilentGateway
from netplumb.models.policy import ForeignRule
from netplumb.models.ports import Protocol
from netplumb.models.sockets import Listener
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.connectionlosses import NOT_BEGUN, read_losses
from netplumb.reconciler.kernel.firewalls import foreigntables, iptables
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nexthops import SILENT, silent
from netplumb.reconciler.kernel.nftables.traces import NftTrace
from netplumb.reconciler.kernel.processes import openers
from netplumb.reconciler.kernel.rtnetlink import dumps, linkstates
from netplumb.reconciler.kernel.rtnetlink.carriers import read_carrier
from netplumb.reconciler.kernel.rtnetlink.nodenetwork import read_ending
from netplumb.reconciler.kernel.rtnetlink.programs import read_programs
from netplumb.reconciler.kernel.rtnetlink.routelookups import look_up, neighbour, neighbour_state
from netplumb.reconciler.kernel.sockdiag import SockDiag
from netplumb.reconciler.tracing.words import Judges


class View:
    """`inside` brings the calling thread into the namespace, for as short as can be; `path` is empty for the node's,
    and `if_name` the interface that a workload has of netplumb. `policed` are chains of the node that judge by network
    policies, `addresses` the node's, `ending` its routes that end the way. Raises StepError when the kernel does
    not answer."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        inside: Callable[[], AbstractContextManager[None]],
        path: str = "",
        if_name: str = "",
        policed: Mapping[str, Judges] | None = None,
        addresses: Sequence[NodeAddress] = (),
        ending: Sequence[EndingRoute] | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.if_name = if_name
        self.policed = policed or {}
        self.addresses = addresses
        self._channel = channel
        self._ending = ending
        self.inside = inside

    @cached_property
    def links(self) -> dict[int, LinkState]:
        with self.inside():
            return {link.index: link for link in linkstates.read_links(self._channel)}

    def link(self, name: str) -> LinkState | None:
        return next((link for link in self.links.values() if link.name == name), None)

    def route(self, asked: Question) -> Lookup:
        return look_up(self._channel, asked)

    def traced(self, sent: str, answers: str) -> NftTrace:
        """From now on, what becomes of such packets here."""
        with self.inside():
            return NftTrace(sent, answers)

    def switch(self, name: str) -> str | None:
        """A kernel parameter below /proc/sys; None where there is none."""
        with self.inside():
            return sysctls.read(name)

    def connections_lost(self) -> int:
        """How many connection tracking could not begin, since the boot."""
        with self.inside():
            return read_losses(NOT_BEGUN)

    def remembers_silent(self, index: int, ip: IPAddress) -> bool:
        """Whether the kernel remembers that a neighbour does not answer."""
        return neighbour_state(self._channel, index, ip) in SILENT

    def neighbour_mac(self, index: int, ip: IPAddress) -> str:
        """That the kernel sends to; empty where it has none."""
        return neighbour(self._channel, index, ip)[1]

    def silent(self, link: LinkState, ip: IPAddress) -> SilentGateway | None:
        """What keeps a next hop from being found, which is asked for now; None where it is."""
        with self.inside():
            return silent(self._channel, link, ip)

    def carrier(self, link: LinkState, hop: IPAddress) -> Carrier | None:
        """As what a VXLAN device hands on what is for this next hop."""
        return read_carrier(self._channel, link, hop)

    def programs(self, link: LinkState) -> list[LinkProgram]:
        """What others put onto a link."""
        return read_programs(self._channel, [link])

    @cached_property
    def rules(self) -> Sequence[ForeignRule]:
        return dumps.foreign_rules(self._channel)

    @cached_property
    def ending(self) -> Sequence[EndingRoute]:
        """Routes that end the way."""
        if self._ending is not None:
            return self._ending
        with self.inside():
            return read_ending()

    @property
    def ruleset(self) -> Ruleset:
        """Every table, ours too, but for what is in `unread`."""
        return self._firewalls[0]

    @property
    def unread(self) -> Sequence[str]:
        return self._firewalls[1]

    @cached_property
    def _firewalls(self) -> tuple[Ruleset, Sequence[str]]:
        with self.inside():
            nftables, (legacy, unread) = (
                foreigntables.read(with_ours=True, below_ip=True),
                iptables.read(iptables.ALL),
            )
        return Ruleset.of([*nftables.listed, *legacy]), [*nftables.unread, *unread]

    def listeners(self, protocol: Protocol, port: int) -> list[Listener]:
        with self.inside():
            diag = SockDiag()
        try:
            found = [it for it in diag.listeners(protocol, [(port, port)]) if it.port == port]
        finally:
            diag.close()
        return found

    def process_of(self, listener: Listener) -> str:
        process = openers([listener.inode]).get(listener.inode)
        return str(process) if process is not None else "a process"
