"""Watches whether processes of the node listen on ports that lead to workloads.

No event tells of a socket. So it is looked when a port is mapped, at every resync, and often while anything is found,
so that it is told soon when it is over. A look is made in a thread, at the ports in question alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import AlreadyHeld, StepError
from netplumb.models.ports import PortMapping, Protocol
from netplumb.models.settings import HostPortsInUse
from netplumb.models.sockets import Listener, Process
from netplumb.reconciler.decide import listeners
from netplumb.reconciler.kernel.processes import openers
from netplumb.reconciler.kernel.sockdiag import RANGES_MAX, SockDiag

LOOK_AGAIN_S = 2.0

log = structlog.get_logger(__name__)

_Port = tuple[Protocol, int]


class HostPorts:
    """`wishes` are all that map or want to map ports. `changed` is called with each key of which something else is to
    be told than before, `freed` when a port is listened on no more."""

    def __init__(
        self,
        policy: HostPortsInUse,
        wishes: Callable[[], Iterable[AttachmentSpec]],
        changed: Callable[[AttachmentKey], None],
        freed: Callable[[], None],
        *,
        resync_s: float,
    ) -> None:
        self.policy = policy
        self.resync_s = resync_s
        self._wishes = wishes
        self._changed = changed
        self._freed = freed
        self._diag = SockDiag()
        self._looking = asyncio.Lock()
        self._listeners: dict[_Port, list[Listener]] = {}
        self._any = asyncio.Event()
        self._processes: dict[int, Process | None] = {}
        self._told: dict[AttachmentKey, list[str]] = {}

    def close(self) -> None:
        self._diag.close()

    def told(self, spec: AttachmentSpec) -> list[str]:
        """What the last looks found of an attachment's ports, which is told with its status from now on."""
        found = self._found(spec, spec.port_mappings)
        if found and found != self._told.get(spec.key):
            log.warning("a process of the node listens on a mapped port", attachment=str(spec.key), what=found[0])
        self._told[spec.key] = found
        return found

    def _found(self, spec: AttachmentSpec, mappings: Iterable[PortMapping]) -> list[str]:
        if not self._listeners or self.policy is HostPortsInUse.ALLOW:
            return []
        return listeners.in_use(spec, mappings, (it for found in self._listeners.values() for it in found))

    def check(self, spec: AttachmentSpec, before: Attachment | None) -> None:
        """Raises AlreadyHeld where the setting refuses what a wish maps anew."""
        if self.policy is HostPortsInUse.REFUSE and self._listeners:
            _check([it for found in self._listeners.values() for it in found], spec, before)

    async def rehearsed(self, mappings: Sequence[PortMapping]) -> Callable[[AttachmentSpec, Attachment | None], None]:
        """What `check` would say of wishes that map these ports. The look is for that alone, and remembered nowhere."""
        if self.policy is not HostPortsInUse.REFUSE or not mappings:
            return lambda *_: None
        return partial(_check, await self._seen(_ports(mappings)))

    async def look(self, mappings: Sequence[PortMapping]) -> None:
        """Looks at these ports now. Where the kernel does not tell, nothing is known of them."""
        if self.policy is HostPortsInUse.ALLOW or not mappings:
            return
        ports = _ports(mappings)
        found = await self._seen(ports)
        before = {port: self._listeners.pop(port) for port in ports & self._listeners.keys()}
        for it in found:
            self._listeners.setdefault((it.protocol, it.port), []).append(it)
        (self._any.set if self._listeners else self._any.clear)()
        if before.keys() - self._listeners.keys():
            self._freed()

    async def _seen(self, ports: set[_Port]) -> list[Listener]:
        async with self._looking:
            try:
                return await asyncio.to_thread(self._read, ports)
            except (StepError, OSError) as error:
                log.warning("it is not known whether processes of the node listen on mapped ports", cause=str(error))
                return []

    def _read(self, ports: set[_Port]) -> list[Listener]:
        found = []
        for protocol in {protocol for protocol, _ in ports}:
            asked = listeners.ranges((port for other, port in ports if other is protocol), RANGES_MAX)
            found += [it for it in self._diag.listeners(protocol, asked) if (protocol, it.port) in ports]
        known = {it.inode: self._processes.get(it.inode) for it in found}
        known |= openers([inode for inode in known if inode not in self._processes])
        self._processes = known
        return [replace(it, process=known[it.inode]) for it in found]

    async def run(self) -> None:
        """Looks at all that is mapped, until cancelled."""
        while True:
            wishes = [spec for spec in self._wishes() if spec.port_mappings]
            await self.look([mapping for spec in wishes for mapping in spec.port_mappings])
            self._compare(wishes)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.resync_s):
                    await self._any.wait()
                    await asyncio.sleep(LOOK_AGAIN_S)

    def _compare(self, wishes: Sequence[AttachmentSpec]) -> None:
        """Has a pass tell anew of what is not as it was told."""
        keys = {spec.key for spec in wishes}
        self._told = {key: found for key, found in self._told.items() if key in keys}
        for spec in wishes:
            if self._found(spec, spec.port_mappings) != self._told.get(spec.key, []):
                self._changed(spec.key)


def _ports(mappings: Iterable[PortMapping]) -> set[_Port]:
    return {(it.protocol, port) for it in mappings for port in range(it.host_port, it.last_host_port + 1)}


def _check(found: Sequence[Listener], spec: AttachmentSpec, before: Attachment | None) -> None:
    mapped = before.spec.port_mappings if before is not None and not before.removing else ()
    if used := listeners.in_use(spec, [it for it in spec.port_mappings if it not in mapped], found):
        raise AlreadyHeld(f"port_mappings: {used[0]}; stop it, map another port, or set host_ports_in_use to warn")
