"""PURE: whom the words of a command line mean: a workload's interface, the node, or an address."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.errors import InvalidRequest
from netplumb.reconciler.decide.policies.verdict import Endpoint

NODE = "node"
TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class End:
    """`attachment` of a workload; with neither that nor `is_node` it is somebody beyond the node."""

    name: str
    addresses: tuple[IPAddress, ...] = ()
    attachment: Attachment | None = None
    is_node: bool = False

    def address(self, version: int) -> IPAddress | None:
        return next((it for it in self.addresses if it.version == version), None)


def end(
    word: str, attachments: Sequence[Attachment], own: Collection[IPAddress], elsewhere: Sequence[Endpoint] = ()
) -> End:
    """Raises InvalidRequest for a word that means nobody. `own` are the node's addresses, `elsewhere` who is on
    others."""
    if word == NODE:
        return End(NODE, tuple(own), is_node=True)
    try:
        address = ip_address(word)
    except ValueError:
        return _workload(word, attachments, [it for it in elsewhere if it.is_called(word)])
    if address.version == 6 and address.is_link_local:
        raise InvalidRequest(
            "", f"{word} is an address of one link alone, and not routed: name the workload, or `{NODE}`"
        )
    for attachment in attachments:
        if address in attachment.addresses:
            return End(str(attachment.key), (address,), attachment)
    return End(f"{NODE} ({address})" if address in own else str(address), (address,), is_node=address in own)


def _workload(word: str, attachments: Sequence[Attachment], elsewhere: Sequence[Endpoint]) -> End:
    """One that is named without its interface is meant by the one that holds its default route."""
    found = [it for it in attachments if word in (str(it.key), it.spec.workload_id)] or _begun(word, attachments)
    chosen = next((it for it in found if it.default_route), found[0] if found else None)
    if chosen is None and elsewhere:
        if len(nodes := sorted({it.node for it in elsewhere})) > 1:
            raise InvalidRequest("", f"{word!r} is on {' and '.join(nodes)}: say NODE/{word}")
        return End(str(elsewhere[0]), tuple(elsewhere[0].addresses))
    if chosen is None:
        known = ", ".join(str(it.key) for it in attachments[:10]) or "none, by the data_dir that is looked into"
        why = f"{word!r} is no workload, no address and not `{NODE}`{_meant(word)}; workloads here: {known}"
        raise InvalidRequest("", why)
    return End(str(chosen.key), chosen.addresses, chosen)


def _meant(word: str) -> str:
    """What is to be said instead, where that can be guessed."""
    ip, _, port = word.rpartition(":")
    with suppress(ValueError):
        return f" (for a port: {ip_address(ip.strip('[]'))} --port {int(port)})"
    return " (names are not looked up: say its address)" if "." in word else ""


def _begun(word: str, attachments: Sequence[Attachment]) -> list[Attachment]:
    """The interfaces of the only workload whose id begins so, or whose container's id does; of those the one that is
    named behind a slash. Raises InvalidRequest."""
    part, _, if_name = word.rpartition("/")
    for begin, name in ((part, if_name), (word, "")):
        found = [it for it in attachments if begin and _begins(begin, it) and name in ("", it.spec.if_name)]
        if len(ids := sorted({it.spec.workload_id for it in found})) > 1:
            raise InvalidRequest("", f"{begin!r} may be {' or '.join(ids[:TOLD_MAX])}: say more of it")
        if found:
            return found
    return []


def _begins(part: str, it: Attachment) -> bool:
    return it.spec.workload_id.startswith(part) or it.spec.container_id.startswith(part)


def version_of(source: End, target: End, *, ipv6: bool) -> int:
    """The family that both have: IPv4 where both have both, unless the other is asked for. Raises InvalidRequest."""
    wanted = (6,) if ipv6 else (4, 6)
    for version in wanted:
        if all(it.address(version) is not None or it.is_node for it in (source, target)):
            return version
    raise InvalidRequest("", f"{source.name} and {target.name} have no address of the same family")
