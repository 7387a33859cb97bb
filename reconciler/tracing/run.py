"""One trace from the words of a command line: opens what it needs to see, walks, and lets go of it."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from functools import partial

from netplumb.models.attachment import Attachment
from netplumb.models.errors import InvalidRequest
from netplumb.models.lookups import Question
from netplumb.models.ports import End as MappedTo
from netplumb.models.ports import Port
from netplumb.models.settings import Settings
from netplumb.reconciler.decide.portmaps import target_of
from netplumb.reconciler.doctor.reading.desired import read_wanted
from netplumb.reconciler.kernel.channel import Channel
from netplumb.reconciler.kernel.namespaces import LO_INDEX, NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.nftables import Nftables
from netplumb.reconciler.kernel.nodenetwork import read_network
from netplumb.reconciler.tracing.ends import End, end, version_of
from netplumb.reconciler.tracing.filters import Flow
from netplumb.reconciler.tracing.hops import Trace
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.walk import Walk

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_ICMP = {4: 1, 6: 58}
_FROM_PORT = 40_000
_DEFAULT_PORT = 80


def trace(settings: Settings, source: str, target: str, *, protocol: str, port: int, ipv6: bool) -> Trace:
    """Called in the node's namespace. Raises InvalidRequest for words that mean nobody, StepError where the kernel does
    not answer."""
    attachments = read_wanted(settings.data_dir, settings.pools).attachments
    addresses = read_network().addresses
    own = [it.ip for it in addresses]
    links = {it.ip: it.index for it in addresses if it.index != LO_INDEX}
    ends = end(source, attachments, own), end(target, attachments, own)
    version = version_of(*ends, ipv6=ipv6)
    with ExitStack() as stack:
        channel = stack.enter_context(Channel())
        namespaces = Namespaces()
        stack.callback(namespaces.close)
        nftables = Nftables()
        stack.callback(nftables.close)
        node = View("node", channel, nullcontext)
        walk = Walk(node, attachments, partial(_open, stack, namespaces), partial(_target, nftables), links)
        return walk.follow(ends[0], _flow(node, *ends, version, protocol, port))


def _open(stack: ExitStack, namespaces: Namespaces, attachment: Attachment) -> View:
    namespace = stack.enter_context(namespaces.open(attachment.spec.netns.where))
    if attachment.netns_cookie not in (0, namespace.cookie) and not attachment.is_declared:
        raise NamespaceMissingError(f"another one is at {attachment.spec.netns.where}")
    return View(str(attachment.key), namespace.channel, partial(namespaces.inside, namespace.fd))


def _target(nftables: Nftables, port: Port, at: bytes) -> MappedTo | None:
    return target_of(port, at, nftables.elements().get)


def _flow(node: View, source: End, target: End, version: int, protocol: str, port: int) -> Flow:
    """The node is asked, and answers, by the address that it has towards the other."""
    addresses = []
    for here, there in ((source, target), (target, source)):
        address = here.address(version) if not (here.is_node and here.name == "node") else None
        if address is None:
            other = there.address(version)
            asked = Question(other) if other is not None else None
            address = node.route(asked).source if asked is not None else None
            address = address or here.address(version)
        addresses.append(address)
    src, dst = addresses
    if src is None or dst is None:
        raise InvalidRequest("", f"the node has no address towards {source.name if src is not None else target.name}")
    number = PROTOCOLS.get(protocol) or _ICMP[version]
    ports = (_FROM_PORT, port or _DEFAULT_PORT) if protocol in PROTOCOLS else (0, 0)
    return Flow(src, dst, number, *ports)
