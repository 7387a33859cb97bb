"""The real kernel, as a pass needs it: one rtnetlink channel on the node, namespaces, sysctls and nftables.

One instance serves one thread at a time; each thread of the daemon has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from netplumb.models.attachment import NETNS_DIR, Attachment, AttachmentKey
from netplumb.models.errors import Conflict, NotANetworkNamespace, Outdated, Retryable, StepError, errno_name
from netplumb.models.fields import IF_NAME_MAX_CHARS
from netplumb.models.kernel import RT_PROTOCOL, KernelObject, Key, Link, LinkUp, Route, Scope, Sysctl
from netplumb.models.naming import node_if_name
from netplumb.models.network import Surroundings
from netplumb.models.nft import NftElement, NftHooks
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.apply import Applied, apply
from netplumb.reconciler.converge.lane import make_new
from netplumb.reconciler.converge.observe import NodeSnapshot, observe
from netplumb.reconciler.converge.observe import snapshot as take_snapshot
from netplumb.reconciler.converge.observed import Observed, add_rule
from netplumb.reconciler.converge.removal import Doomed, remove_links
from netplumb.reconciler.converge.surroundings import read_surroundings
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.namespaces import LO_INDEX, Namespace, NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables, split_table_steps
from netplumb.reconciler.kernel.rtnetlink import dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What rendering must know of the node, and only the kernel knows."""

    ipv6: bool
    ipv6_for_new_links: bool
    ipv6_switch: str
    around: Surroundings
    owns_tables: bool


class LinuxKernel:
    """Raises Retryable from any method when the kernel does not answer. `changed` is called, on any thread, with the
    steps that were carried out together, including failed ones."""

    def __init__(
        self,
        nftables: Nftables,
        changed: Callable[[Iterable[Step]], None] = lambda _: None,
    ) -> None:
        self._node = Channel()
        self._namespaces = Namespaces()
        self._nftables = nftables
        self._changed = changed
        self.left_as_set: set[str] = set()
        """Sysctls that the node's last steps should have set, and that another program had set by then."""

    @property
    def node_cookie(self) -> int:
        return self._namespaces.node_cookie

    def close(self) -> None:
        self._node.close()
        self._namespaces.close()

    # Attachments.

    def open(self, path: str) -> Namespace:
        return self._namespaces.open(path)

    def create(self, name: str, mark: str) -> None:
        """Raises Conflict if the name is taken, be it by a dangling symlink, and Retryable if the creation fails."""
        path = f"{NETNS_DIR}/{name}"
        try:
            self._namespaces.create(name, mark)
        except FileExistsError:
            raise Conflict(f"{path} is there and is not a network namespace; remove it", subject=path) from None
        except OSError as error:
            code = error.errno or 0
            raise Retryable(f"cannot make {path}: {errno_name(code)}", code=code, reason="NetnsFailed") from None

    def remove_namespace(self, name: str, cookie: int) -> None:
        """Removes a named namespace that netplumb made, for any attachment, if the name still means the one with this
        cookie; 0 stands for a cookie that was never recorded."""
        try:
            with self.open(f"{NETNS_DIR}/{name}") as namespace:
                meant = cookie in (0, namespace.cookie) and bool(self.mark_of(name))
        except (NamespaceMissingError, NotANetworkNamespace):
            meant = self._namespaces.is_bare_name(name)
        if meant:
            self._namespaces.remove(name)

    def mark_of(self, name: str) -> str:
        return self._namespaces.mark_of(name)

    def observe(
        self,
        attachment: Attachment,
        namespace: Namespace | None,
        *,
        elements: Sequence[NftElement] = (),
        hint_indexes: Sequence[int] = (),
        snapshot: NodeSnapshot | None = None,
        node_ipv6: bool = True,
        at_once: bool = False,
    ) -> Observed:
        observed = observe(
            self._node,
            namespace.channel if namespace is not None else None,
            attachment,
            hint_indexes=hint_indexes,
            snapshot=snapshot,
            node_ipv6=node_ipv6,
            at_once=at_once,
        )
        wanted = (element.key for element in elements)
        for element in self._nftables.elements_of(node_if_name(attachment.key), wanted):
            observed.add(element)
        if attachment.spec.sysctls and namespace is not None:
            with self._namespaces.inside(namespace.fd):
                for name in attachment.spec.sysctls:
                    if (value := sysctls.read(name)) is not None:
                        observed.add(Sysctl(Scope.WORKLOAD, name, sysctls.canonical(value)))
        return observed

    def apply(
        self,
        steps: Sequence[Step],
        namespace: Namespace | None,
        observed: Observed,
        is_wished: Callable[[], bool] = lambda: True,
    ) -> Applied:
        """Carries out an attachment's steps: those of the nftables table first, in one transaction unless they are very
        many. If that fails, nothing else is done, since a link must not come up without its guards. Raises Outdated,
        and writes nothing to the table, once `is_wished` is false."""
        table, rest = split_table_steps(steps)
        try:
            self._apply_table(table, is_wished)
        except Outdated:
            raise
        except StepError as error:
            return Applied(errors=[error])
        applied = apply(rest, self._node, namespace, observed, lambda sysctl: self._write(sysctl, namespace))
        self._changed(steps)
        return applied

    def make_new(
        self,
        name: str,
        elements: Sequence[NftElement],
        things: Sequence[KernelObject],
        namespace: Namespace,
        is_wished: Callable[[], bool] = lambda: True,
    ) -> Link | None:
        """Makes what is assumed not to exist, elements first. Returns the node's end; None if a pass has to look."""
        there = {it.key: it for it in self._nftables.elements_of(name, (element.key for element in elements))}
        steps = plan(elements, there).steps
        try:
            self._apply_table(steps, is_wished)
        except StepError:
            return None
        made = make_new(things, self._node, namespace, lambda sysctl: self._write(sysctl, namespace))
        if steps:
            self._changed([*steps, *(Step(Verb.ADD, thing) for thing in things)])
        return made

    def _write(self, sysctl: Sysctl, namespace: Namespace | None) -> None:
        if sysctl.scope is Scope.NODE:
            # Read again: what another program has set since this was planned stays.
            if sysctl.instead_of is None or sysctls.read(sysctl.name) == sysctl.instead_of:
                sysctls.write(sysctl.name, sysctl.value)
            else:
                self.left_as_set.add(sysctl.name)
        elif namespace is not None:
            with self._namespaces.inside(namespace.fd):
                sysctls.write_as_read(sysctl.name, sysctl.value)

    def _apply_table(self, steps: Sequence[Step], is_wished: Callable[[], bool] = lambda: True) -> None:
        if steps:
            self._nftables.apply_in_turns(steps, is_wished)

    def host_routes(self, names: Mapping[int, str]) -> Iterable[Route]:
        """Our routes over the node's interfaces with these indexes."""
        for family in (rt.AF_INET, rt.AF_INET6):
            yield from dumps.routes(self._node, encode.dump_routes(family, protocol=RT_PROTOCOL), Scope.NODE, names)

    def snapshot(self, *, in_part: bool = False) -> NodeSnapshot:
        return take_snapshot(self._node, in_part=in_part)

    def there(self, names: Iterable[str]) -> set[str]:
        """Which of these links exist on the node; each is asked for by name. Who wrote to our table may have called an
        owner what no link can be called, and the kernel refuses to look for that (ERANGE)."""
        asked = [name for name in names if len(name.encode()) <= IF_NAME_MAX_CHARS]
        replies = self._node.transact([encodelinks.get_link_by_name(name) for name in asked])
        return {name for name, reply in zip(asked, replies, strict=True) if dumps.link_in(Scope.NODE, reply)}

    def remove_links(
        self, doomed: Sequence[Doomed], going: Callable[[Mapping[int, AttachmentKey]], None] = lambda _: None
    ) -> dict[AttachmentKey, StepError | None]:
        """Removes attachments' links together; see `removal`. `going` is called with all their indexes just before.
        Returns what failed, by key."""
        return remove_links(doomed, self._node, self._namespaces, self._nftables, self._changed, going)

    # The node.

    def facts(self) -> NodeFacts:
        """Reads whether the loopback and new links have IPv6, and what other programs set up."""
        on = {which: sysctls.read(f"net/ipv6/conf/{which}/disable_ipv6") == "0" for which in ("all", "default", "lo")}
        return NodeFacts(
            ipv6=on["lo"],
            ipv6_for_new_links=all(on.values()),
            ipv6_switch="" if on["lo"] else f"net.ipv6.conf.{'lo' if on['all'] else 'all'}.disable_ipv6",
            around=read_surroundings(self._node),
            owns_tables=self._nftables.hooks.available(),
        )

    def _link(self, index: int) -> tuple[Link, bool] | None:
        (reply,) = self._node.transact([encodelinks.get_link_by_index(index)])
        return dumps.link_in(Scope.NODE, reply)

    def observe_node(self, switches: Iterable[Sysctl]) -> dict[Key, KernelObject]:
        """What the node holds of these sysctls, of loopback addresses, of our rules and of our nftables table."""
        observed: dict[Key, KernelObject] = {}
        for switch in switches:
            if (value := sysctls.read(switch.name)) is not None:
                index = sysctls.interface_of(switch.name)
                observed[switch.key] = Sysctl(Scope.NODE, switch.name, value, interface=index)
        if (lo := self._link(LO_INDEX)) is not None and lo[1]:
            up = LinkUp(Scope.NODE, "lo")
            observed[up.key] = up
        for address in dumps.addresses(self._node, Scope.NODE, {LO_INDEX: "lo"}):
            observed[address.key] = address
        for rule in dumps.rules(self._node, Scope.NODE):
            add_rule(observed, rule)
        for thing in self._nftables.observe():
            observed[thing.key] = thing
        if self._nftables.hooks.kept():
            hooks = NftHooks()
            observed[hooks.key] = hooks
        return observed

    @property
    def tells_denied(self) -> bool:
        """Whether the kernel can report packets that policies deny."""
        return self._nftables.tells_denied()

    @property
    def table_readings(self) -> int:
        """How often the nftables table was read: while this does not change, its elements need no comparison."""
        return self._nftables.readings

    def elements_of(self, owner: str, wanted: Sequence[Key]) -> Sequence[NftElement]:
        """The elements of this owner, and those under the wanted keys."""
        return self._nftables.elements_of(owner, wanted)

    def observe_elements(self) -> Mapping[Key, NftElement]:
        return self._nftables.elements()

    def apply_node(self, steps: Sequence[Step]) -> list[StepError]:
        """Carries out node-wide steps; all nftables steps are one transaction."""
        self.left_as_set.clear()
        table, rest = split_table_steps(step for step in steps if not isinstance(step.thing, NftHooks))
        errors: list[StepError] = []
        try:
            if table:
                self._nftables.apply(table)
            if any(isinstance(step.thing, NftHooks) for step in steps):
                self._nftables.hooks.keep()
        except StepError as error:
            errors.append(error)
        errors += apply(rest, self._node, None, Observed(), lambda sysctl: self._write(sysctl, None)).errors
        self._changed(steps)
        return errors

    def delete_table(self) -> None:
        self._nftables.delete_table()
