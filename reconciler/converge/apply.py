"""Carries out a plan in the kernel, and collects each step's error.

Steps go out in order, consecutive ones on the same side in one send, so that a new attachment costs three sends: the
pair, the rest of the node's side, the workload's side. A step whose link could not be made is not tried. A step that
finds its work done (EEXIST on an addition, "no such" on a removal) has succeeded.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import filterfalse

from netplumb.models.errors import Conflict, Retryable, StepError, Terminal, errno_name
from netplumb.models.kernel import Address, FdbEntry, Link, LinkUp, Neighbour, Route, Rule, Scope, Sysctl, scope_of
from netplumb.models.nft import NftChain, NftElement, NftSet
from netplumb.models.steps import Step, Verb
from netplumb.models.tc import IngressQdisc, Redirect, Tbf
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.kernel.namespaces import LO_INDEX, Namespace
from netplumb.reconciler.kernel.netlink.channel import Channel, Reply
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.rtnetlink import decode, encode, encodelinks, tc

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})
_HEALS = frozenset(
    {
        errno.EBUSY,
        errno.ENOBUFS,
        errno.EINTR,
        errno.ENOMEM,
        errno.ENODEV,
        errno.EAGAIN,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENOENT,
        errno.ESRCH,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENOSPC,
        errno.EINVAL,
        errno.EACCES,
        errno.EADDRNOTAVAIL,
    }
)
"""Errnos behind which a passing state may lie: a link that went between read and write, IPv6 that was just switched
off (EACCES, and EINVAL for a neighbour), memory."""


@dataclass(slots=True)
class Applied:
    """What came of a plan. `made` is the node's end of a pair that was made, as read back."""

    errors: list[StepError] = field(default_factory=list)
    made: Link | None = None


class _Run:
    """One plan under way: the requests not sent yet, and the indexes known so far."""

    def __init__(
        self, node: Channel, workload: Namespace | None, observed: Observed, write: Callable[[Sysctl], None]
    ) -> None:
        self._node = node
        self._workload = workload
        self._write_sysctl = write
        self._indexes: dict[tuple[Scope, str], int] = {
            (Scope.NODE, "lo"): LO_INDEX,
            (Scope.WORKLOAD, "lo"): LO_INDEX,
        }
        for key, thing in observed.objects.items():
            if isinstance(thing, Link):
                self._indexes[(thing.scope, str(key[2]))] = thing.index
        self._pending: list[tuple[Step, list[Request]]] = []
        self._pending_scope = Scope.NODE
        self._stuck: set[tuple[Scope, bytes]] = set()
        self._doubted = False
        self.applied = Applied()

    def step(self, step: Step) -> None:
        thing = step.thing
        if isinstance(thing, Link) and step.verb is Verb.REMOVE:
            self.flush()
            if thing.kind == "ifb" and (self.applied.errors or self._doubted):
                return  # what redirects to it is known as ours by it, and may still exist: the next pass sees
            self._queue(step, thing.scope, encodelinks.delete_link(thing.index))
            self.flush()
            for scope, name in ((thing.scope, thing.name), (Scope.WORKLOAD, thing.peer)):
                self._indexes.pop((scope, name or ""), None)
        elif isinstance(thing, Route) and step.verb is Verb.REMOVE and (thing.scope, thing.dst) in self._stuck:
            return  # a pass finds neighbours by the addresses of routes: without the route the next would miss it
        elif isinstance(thing, Sysctl):
            self.flush()
            self._write(step, thing)
        elif isinstance(thing, NftSet | NftChain | NftElement):
            raise TypeError("nftables steps go in one transaction, not one by one")
        elif (requests := self._requests(step)) is not None:
            self._queue(step, scope_of(thing), requests)

    def create(self, step: Step, node: Link, workload_end: Link) -> None:
        """Makes a pair, and learns the indexes of both ends from the kernel."""
        self.flush()
        if self._workload is None:
            return
        created, *set_, read = self._node.transact(encodelinks.create_veth(node, workload_end, self._workload.fd))
        if created.errno:
            self._failed(step, created)
            return
        for reply in set_:
            if reply.errno:
                self._failed(step, reply)
        if read.errno or not read.parts:
            self.applied.errors.append(Retryable(f"{node.name} went as soon as it was made", subject=str(node)))
            return
        made, _ = decode.link(Scope.NODE, read.parts[0][1])
        self.applied.made = made
        self._indexes[(Scope.NODE, node.name)] = made.index
        self._indexes[(Scope.WORKLOAD, workload_end.name)] = made.peer_index
        # One that came without IPv6 is looked at before it is given any.
        for switch in ipv6_switches(replace(node, ipv6=None), made):
            self._write(step, switch)

    def create_alone(self, step: Step, link: Link) -> None:
        """Makes a link of the node's that has no other end, and learns its index."""
        self.flush()
        create = encodelinks.create_ifb if link.kind == "ifb" else encodelinks.create_vxlan
        *made, read = self._node.transact(create(link))
        for reply in made:
            if reply.errno:
                self._failed(step, reply)
                return
        if read.parts:
            there, _ = decode.link(Scope.NODE, read.parts[0][1])
            self._indexes[(Scope.NODE, link.name)] = there.index
            for switch in ipv6_switches(link, there):
                self._write(step, switch)

    def _requests(self, step: Step) -> list[Request] | None:
        """What to send for one step; None when its link is not there, which is an error of its own already."""
        thing, observed = step.thing, step.observed
        if isinstance(thing, Link):
            if not isinstance(observed, Link):
                return None
            if observed.ipv6 is not None:  # where there is no IPv6 yet, nor are its switches: the next pass finds them
                for switch in ipv6_switches(thing, observed):
                    self._write(step, switch)
            return encodelinks.change_link(thing, observed)
        if isinstance(thing, Rule):
            return _rule_requests(step, thing)
        if not isinstance(thing, LinkUp | Address | Route | Neighbour | FdbEntry | Tbf | IngressQdisc | Redirect):
            return None
        index = self._indexes.get((scope_of(thing), thing.link))
        if index is None:
            return None
        if isinstance(thing, Tbf | IngressQdisc | Redirect):
            return self._shaping_requests(step, thing, index)
        match thing, step.verb:
            case Address(), Verb.REMOVE:
                return encode.delete_address(thing, index)
            case Address(), Verb.CHANGE if isinstance(observed, Address):
                return encode.change_address(thing, observed, index)
            case Neighbour(), Verb.REMOVE:
                return encode.delete_neighbour(thing, index)
            case FdbEntry(), Verb.REMOVE:
                return encode.delete_fdb(thing, index)
            case Route(), Verb.REMOVE:
                return encode.delete_route(thing, index)
            case Route(), Verb.CHANGE if isinstance(observed, Route):
                was = self._indexes.get((observed.scope, observed.link), index)
                return encode.change_route(thing, index, observed, was)
            case _:
                return encode.add(thing, index)

    def _shaping_requests(self, step: Step, thing: Tbf | IngressQdisc | Redirect, index: int) -> list[Request] | None:
        gone = step.verb is Verb.REMOVE
        match thing:
            case Tbf():
                return tc.delete_tbf(thing, index) if gone else tc.set_tbf(thing, index)
            case IngressQdisc():
                return tc.delete_ingress(index) if gone else tc.add_ingress(index)
            case Redirect() if gone:
                return tc.delete_redirect(index)
            case Redirect():
                if (to_index := self._indexes.get((Scope.NODE, thing.to))) is None:
                    return None
                added = tc.add_redirect(index, to_index)
                return tc.delete_redirect(index) + added if step.verb is Verb.CHANGE else added

    def _queue(self, step: Step, scope: Scope, requests: list[Request]) -> None:
        if scope is not self._pending_scope:
            self.flush()
            self._pending_scope = scope
        self._pending.append((step, requests))

    def flush(self) -> None:
        """Sends what is pending and maps the replies back to their steps."""
        pending, self._pending = self._pending, []
        if self._pending_scope is Scope.NODE:
            channel = self._node
        elif self._workload is not None:
            channel = self._workload.channel
        else:
            return
        if not pending:
            return
        replies = iter(channel.transact([request for _, requests in pending for request in requests]))
        for step, requests in pending:
            for reply in [next(replies) for _ in requests]:
                if reply.errno and not _is_done(step, reply.errno):
                    self._failed(step, reply)
                    break
                self._doubted |= bool(reply.errno) and isinstance(step.thing, IngressQdisc | Redirect)

    def _write(self, step: Step, sysctl: Sysctl) -> None:
        try:
            self._write_sysctl(sysctl)
        except StepError as error:
            error.subject = error.subject or str(step)
            self.applied.errors.append(error)

    def _failed(self, step: Step, reply: Reply) -> None:
        if isinstance(step.thing, Neighbour) and step.verb is Verb.REMOVE:
            self._stuck.add((step.thing.scope, step.thing.ip))
        self.applied.errors.append(step_error(step, reply.errno, reply.words))


def _rule_requests(step: Step, rule: Rule) -> list[Request]:
    if step.verb is Verb.REMOVE:
        return encode.delete_rule(rule)
    if step.verb is Verb.CHANGE and isinstance(step.observed, Rule):
        return encode.move_rule(rule, step.observed)
    return encode.add_rule(rule)


def ipv6_switches(desired: Link, observed: Link) -> Iterator[Sysctl]:
    """Those of the node's end that are not as they are to be; netlink cannot set them."""
    if desired.ipv6 and observed.ipv6 is False:
        yield Sysctl(Scope.NODE, f"net/ipv6/conf/{observed.name}/disable_ipv6", "0")
    for name, wanted, there in (
        ("proxy_ndp", desired.proxy_ndp, observed.proxy_ndp),
        ("forwarding", desired.forwarding_v6, observed.forwarding_v6),
    ):
        if wanted and not there:
            yield Sysctl(Scope.NODE, f"net/ipv6/conf/{observed.name}/{name}", "1")


def apply(
    steps: Iterable[Step],
    node: Channel,
    workload: Namespace | None,
    observed: Observed,
    write: Callable[[Sysctl], None],
) -> Applied:
    """Carries out an attachment's steps, less those of the nftables table. `write` sets a switch on its side.

    Raises Retryable when the kernel does not answer at all.
    """
    ordered: Sequence[Step] = list(steps)
    run = _Run(node, workload, observed, write)
    ends = {
        step.thing.peer: step.thing
        for step in ordered
        if isinstance(step.thing, Link) and step.verb is Verb.ADD and step.thing.scope is Scope.WORKLOAD
    }
    for step in filter(_is_neighbour_removal, ordered):
        run.step(step)
    run.flush()
    for step in filterfalse(_is_neighbour_removal, ordered):
        thing = step.thing
        if isinstance(thing, Link) and step.verb is Verb.ADD:
            # The workload's end comes into being with the node's.
            if thing.kind in ("ifb", "vxlan"):
                run.create_alone(step, thing)
            elif thing.scope is Scope.NODE and (end := ends.get(thing.name)) is not None:
                run.create(step, thing, end)
        else:
            run.step(step)
    run.flush()
    if run.applied.made is not None:
        carry_at_once(node, run.applied.made)
    return run.applied


def carry_at_once(node: Channel, made: Link) -> None:
    """Makes the end that came up first carry packets now. It got its carrier when the other end came up, and would
    drop what it is given until the kernel's link watch has its turn, milliseconds later; since Linux 6.8 a read of
    the link does not answer before that is done."""
    node.carry_out([encodelinks.get_link_by_index(made.index)])


def _is_neighbour_removal(step: Step) -> bool:
    return step.verb is Verb.REMOVE and isinstance(step.thing, Neighbour) and step.thing.scope is Scope.NODE


def _is_done(step: Step, code: int) -> bool:
    """Whether the kernel's refusal says that there is nothing left to do."""
    if step.verb is Verb.REMOVE:
        return code in _GONE
    if isinstance(step.thing, Route | Rule):
        # A change of either is an addition and a removal; the half that is done already is no failure.
        return code == errno.EEXIST or (step.verb is Verb.CHANGE and code in _GONE)
    if isinstance(step.thing, Redirect):
        return step.verb is Verb.CHANGE and code in _GONE
    return isinstance(step.thing, IngressQdisc) and code == errno.EEXIST


def step_error(step: Step, code: int, words: str) -> StepError:
    """The kernel's refusal of a step as an error of ours, with all that its reader needs."""
    message = f"{step}: {errno_name(code)}" + (f" ({words})" if words else "")
    subject = str(step.thing)
    if isinstance(step.thing, Link) and code == errno.EEXIST:
        return Conflict(f"{message}: {_in_the_place_of(step.thing, words)}", subject=subject, code=code)
    kind = Retryable if code in _HEALS else Terminal
    return kind(message, subject=subject, code=code, reason=f"{type(step.thing).__name__}Failed")


def _in_the_place_of(link: Link, words: str) -> str:
    """What a link cannot be made for, by the kernel's words; it does not say which of two names is taken."""
    if link.tunnel is not None:
        if "VNI" in words:
            # The kernel keeps the id of a device for the namespace that it was made in, wherever it has been moved to.
            return (
                "another VXLAN device of the node has that id and port, be it here or moved to another network "
                "namespace; remove it, or give all nodes another vxlan_id"
            )
        return f"another interface of the node is named {link.name}; remove or rename it"
    return (
        f"an interface named {link.peer or link.name} is in the workload's namespace, or one named {link.name} on the "
        "node; remove or rename it"
    )
