"""Two worlds in which the same promises must hold: the fake kernel, and the real one in throw-away namespaces."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from netplumb.models.attachment import NETNS_DIR, Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import StepError
from netplumb.models.kernel import Address, KernelObject, Link, LinkUp, Route, Scope
from netplumb.models.naming import alias_of, workload_mac
from netplumb.models.network import Node
from netplumb.reconciler.converge.attachment import Kernel, converge
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.preview import Preview, preview
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.converge.work import Outcome, Work
from netplumb.reconciler.kernel.nftables.table import Nftables
from tests.contract.fake import FakeKernel, Side
from tests.e2e.hosts import Host, temporary

NODE_NAME = "contract-node"
NODE_ADDRESSES = (ip_address("10.215.0.1"), ip_address("fd15::1"))
ADDRESSES = (ip_address("10.215.0.2"), ip_address("fd15::2"))
NODE = Node(node_addresses=NODE_ADDRESSES)


class RemovingKernel(Kernel, Protocol):
    def remove_links(self, doomed: Sequence[Doomed]) -> Mapping[AttachmentKey, StepError | None]: ...


class World(Protocol):
    """A kernel, and what happens to it from outside."""

    lane: bool
    """Whether passes try the straight lane first, as those over what is new do."""

    @property
    def kernel(self) -> RemovingKernel: ...
    def place(self, name: str) -> None: ...
    def displace(self, name: str) -> None: ...
    def place_file(self, name: str) -> None: ...
    def place_node(self, name: str) -> None: ...
    def place_dangling(self, name: str) -> None: ...
    def add_foreign_link(self, scope: Scope, name: str) -> None: ...
    def switch_ipv6_off(self, name: str) -> None: ...


class FakeWorld:
    lane = False

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        node = self.kernel.node
        node.add(LinkUp(Scope.NODE, "lo"))
        for address in NODE_ADDRESSES:
            node.add(Address(Scope.NODE, "lo", address.packed, address.max_prefixlen))

    def side(self, scope: Scope, name: str) -> Side:
        side = self.kernel.node if scope is Scope.NODE else self.kernel.paths[path_of(name)]
        assert side is not None
        return side

    def place(self, name: str) -> None:
        self.kernel.place(path_of(name))

    def displace(self, name: str) -> None:
        self.kernel.displace(path_of(name))

    def place_file(self, name: str) -> None:
        self.kernel.paths[path_of(name)] = None

    def place_dangling(self, name: str) -> None:
        self.kernel.dangling.add(path_of(name))

    def place_node(self, name: str) -> None:
        self.kernel.paths[path_of(name)] = self.kernel.node

    def add_foreign_link(self, scope: Scope, name: str) -> None:
        side = self.side(scope, "w")
        side.links[name] = Link(scope, name, "dummy", mac=bytes(6), mtu=1500, group=0, alias="", master=0, index=900)

    def switch_ipv6_off(self, name: str) -> None:
        self.side(Scope.WORKLOAD, name).switch_ipv6_off()


class LinuxWorld:
    """Made with the calling thread on the node, where it stays."""

    lane = False

    def __init__(self, node: Host, stack: ExitStack) -> None:
        self.node = node
        nftables = Nftables()
        self.kernel = LinuxKernel(nftables)
        self._stack = stack
        stack.callback(nftables.close)
        stack.callback(self.kernel.close)

    def host(self, scope: Scope, name: str) -> Host:
        return self.node if scope is Scope.NODE else Host(name)

    def place(self, name: str) -> None:
        host = Host(name).create()
        self._stack.callback(host.remove)

    def displace(self, name: str) -> None:
        """The kernel takes a namespace's interfaces away some 30 ms after its last name."""
        into = Host(name).links().keys() - {"lo"}
        before = self.node.links().keys()
        Host(name).remove()
        ends = time.monotonic() + 5
        while into and self.node.links().keys() == before and time.monotonic() < ends:
            time.sleep(0.005)

    def place_file(self, name: str) -> None:
        path = Path(path_of(name))
        path.touch()
        self._stack.callback(path.unlink)

    def place_node(self, name: str) -> None:
        self._link(name, self.node.path)

    def place_dangling(self, name: str) -> None:
        self._link(name, "/nowhere")

    def _link(self, name: str, target: str) -> None:
        path = Path(path_of(name))
        path.symlink_to(target)
        self._stack.callback(path.unlink)

    def add_foreign_link(self, scope: Scope, name: str) -> None:
        self.host(scope, "w").ip(f"link add {name} type veth peer name other0")

    def switch_ipv6_off(self, name: str) -> None:
        for which in ("all", "default"):
            Host(name).set_sysctl(f"net/ipv6/conf/{which}/disable_ipv6", "1")


@contextmanager
def fake_world() -> Iterator[FakeWorld]:
    world = FakeWorld()
    yield world
    assert not world.kernel.still_open, "a pass left a namespace open"


@contextmanager
def linux_world() -> Iterator[LinuxWorld]:
    with temporary(NODE_NAME) as node, ExitStack() as stack:
        node.ip("link set lo up")
        for address in NODE_ADDRESSES:
            node.ip(f"address add {address} dev lo" + (" nodad" if address.version == 6 else ""))
        stack.enter_context(node.enter())
        yield LinuxWorld(node, stack)


def path_of(name: str) -> str:
    return f"{NETNS_DIR}/{name}"


def wish(world: World, netns: NetnsRef | None = None, *, source: str = "rpc", mtu: int = 0) -> Attachment:
    """The attachment of workload `w` in the namespace `w`, as the store would have it."""
    ref = netns or NetnsRef(path=path_of("w"))
    spec = AttachmentSpec(workload_id="w", netns=ref, mtu=mtu)
    cookie = cookie_of(world, ref.where) if source == "rpc" else 0
    return Attachment(
        spec=spec,
        source=source,
        addresses=ADDRESSES,
        mac=workload_mac(spec.key),
        node_addresses=NODE_ADDRESSES,
        netns_cookie=cookie,
        default_route_by=spec.if_name,
    )


def cookie_of(world: World, path: str) -> int:
    namespace = world.kernel.open(path)
    try:
        return namespace.cookie
    finally:
        namespace.close()


def passed(world: World, attachment: Attachment, *, hint_index: int = 0, may_block: bool = True) -> Outcome:
    """One pass over the attachment."""
    hints = (hint_index,) if hint_index else ()
    return converge(Work(attachment, NODE, hints, may_block=may_block, is_new=world.lane), world.kernel)


def attached(world: World) -> Attachment:
    """The wish for a fresh namespace, come true."""
    world.place("w")
    attachment = wish(world)
    outcome = passed(world, attachment)
    assert outcome.attached, outcome.errors
    return attachment


def planned(world: World, attachment: Attachment) -> list[str]:
    """What a pass would do now, in words."""
    return [str(step) for step in previewed(world, attachment).steps]


def previewed(world: World, attachment: Attachment) -> Preview:
    """That, and what a pass could not come past."""
    return preview(attachment, NODE, world.kernel)


def seen(world: World, attachment: Attachment) -> set[KernelObject]:
    """What the kernel holds for the attachment, less what the kernel adds by itself and when it likes."""
    namespace = world.kernel.open(attachment.spec.netns.where)
    try:
        observed = world.kernel.observe(
            attachment, namespace, elements=(), hint_indexes=(), snapshot=None, node_ipv6=NODE.ipv6, at_once=True
        )
    finally:
        namespace.close()
    return {thing for thing in observed.objects.values() if not _by_kernel(thing)}


def _by_kernel(thing: KernelObject) -> bool:
    """Link-local addresses and the routes that come with addresses, RTPROT_KERNEL and enum ifa_proto."""
    if isinstance(thing, Route):
        return thing.protocol == 2
    return isinstance(thing, Address) and thing.protocol in (1, 2, 3)


def mark_of(attachment: Attachment) -> str:
    return alias_of(attachment.key)
