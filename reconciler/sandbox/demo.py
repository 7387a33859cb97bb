"""The demo: workloads get a network, lose a piece of it, and get it back. What is said is shown first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from rich.text import Text

from netplumb.api.cli import tables
from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import NETNS_DIR, AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.reconciler.sandbox import evidence
from netplumb.reconciler.sandbox.child import Daemon
from netplumb.reconciler.sandbox.proof import Proof
from netplumb.reconciler.sandbox.stage import GUEST, OUTSIDE_ADDRESSES, SandboxError
from netplumb.reconciler.sources import directory

IF_NAME = "eth0"

_DECLARED_TIMEOUT_S = 15.0


def show(daemon: Daemon, proof: Proof) -> None:
    """The whole story; it ends early where what follows would make no sense."""
    proof.chapter("Workloads get a network")
    if not proof.claim("declared workloads are attached", lambda: _declared(daemon)):
        return
    if not proof.claim(f"{GUEST} is attached over gRPC", lambda: _attach_guest(daemon)):
        return
    attachments = _attachments(daemon)
    proof.show(tables.attachments(attachments))

    proof.chapter("They reach each other, and the outside")
    _pings(attachments, proof)

    proof.chapter("Something breaks, on purpose")
    _damages(attachments[0], proof)

    proof.chapter("All is well again")
    _pings(attachments, proof)
    proof.claim("the daemon finds nothing to change", lambda: _in_sync(daemon))


def _declared(daemon: Daemon) -> str:
    """Waits for all that the state files declare."""
    files = directory.contents(daemon.state_files, {})
    if problems := [content.problem for content in files.values() if content.problem]:
        raise SandboxError("; ".join(problems))
    expected = {spec.key for content in files.values() for spec in content.specs}
    if not expected:
        raise SandboxError(f"{daemon.state_files} declares nothing")
    deadline = time.monotonic() + _DECLARED_TIMEOUT_S
    while True:
        found = {AttachmentKey(it.workload_id, it.if_name): it for it in _attachments(daemon)}
        waiting = {key for key in expected if key not in found or found[key].phase != "Attached"}
        if not waiting:
            return ", ".join(sorted(map(str, expected)))
        if time.monotonic() > deadline:
            why = (_state(key, found.get(key)) for key in sorted(waiting))
            raise SandboxError(f"not within {_DECLARED_TIMEOUT_S:.0f} s: {'; '.join(why)}")
        time.sleep(0.02)


def _state(key: AttachmentKey, attachment: pb.Attachment | None) -> str:
    if attachment is None:
        return f"{key} is not known"
    return f"{key} is {attachment.phase}" + "".join(f", {it.message}" for it in attachment.unmet)


def _attach_guest(daemon: Daemon) -> str:
    request = pb.AttachRequest(
        workload_id=GUEST,
        netns=pb.NetNSAttachment(netns_path=f"{NETNS_DIR}/{GUEST}", if_name=IF_NAME),
    )

    async def attach(client: AsyncClient) -> str:
        await client.status()  # so that the time is that of the call, not of the connection
        start = time.perf_counter()
        answer = await client.attach(request)
        took_ms = (time.perf_counter() - start) * 1e3
        return f"{' '.join(str(ip_address(ip)) for ip in answer.ip)} after {took_ms:.1f} ms"

    return daemon.ask(attach)


def _attachments(daemon: Daemon) -> Sequence[pb.Attachment]:
    async def everything(client: AsyncClient) -> list[pb.Attachment]:
        return [it async for it in client.list()]

    return daemon.ask(everything)


def _pings(attachments: Sequence[pb.Attachment], proof: Proof) -> None:
    """Around the circle of workloads, and from each to the outside host, in every family that it has."""
    for it, neighbour in zip(attachments, [*attachments[1:], attachments[0]], strict=True):
        for address in neighbour.addresses:
            _ping(it, address, f"{neighbour.workload_id} {address}", proof)
        versions = {ip_address(address).version for address in it.addresses}
        for address in OUTSIDE_ADDRESSES:
            if ip_address(address).version in versions:
                _ping(it, address, f"outside {address}, masqueraded", proof)


def _ping(it: pb.Attachment, address: str, what: str, proof: Proof) -> None:
    proof.claim(f"ping {it.workload_id} -> {what}", lambda: evidence.ping(Path(it.netns_path), address))


def _damages(victim: pb.Attachment, proof: Proof) -> None:
    """Three ways to lose a network, each with the time until the kernel has all of it again."""
    netns = Path(victim.netns_path)
    link = node_if_name(AttachmentKey(victim.workload_id, victim.if_name))
    address = victim.addresses[0]
    family = f"-{ip_address(address).version}"
    with evidence.node_routes(link) as read:
        damage(("ip", family, "route", "del", address, "dev", link), read, proof)
    with evidence.network_of(netns, victim.if_name) as read:
        flush = ("nsenter", f"--net={netns}", "ip", "address", "flush", "dev", victim.if_name)
        damage(flush, read, proof)
    with evidence.nftables_table() as read:
        damage(("nft", "delete", "table", "inet", "netplumb"), read, proof)


def damage(words: Sequence[str], read: evidence.Read, proof: Proof) -> None:
    def done_and_repaired() -> str:
        repair = evidence.repair(read, words)
        for lost in repair.lost:
            proof.show(Text(f"      - {lost}", "red"))
        return str(repair)

    proof.note(f"      # {' '.join(words)}")
    proof.claim("repaired", done_and_repaired)


def _in_sync(daemon: Daemon) -> None:
    made = daemon.ask(lambda client: client.plan())
    if made.changes or made.unmet:
        unmet = (f"{it.reason}: {it.message}" for it in made.unmet)
        raise SandboxError("; ".join([*unmet, *(f"{change.verb} {change.words}" for change in made.changes)]))
