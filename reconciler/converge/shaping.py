"""What the kernel holds of an attachment's limits: the ifb, the token buckets, and the redirect into the ifb.

An attachment without limits has none of these, which its link and the missing ifb show without further reading.
"""

from __future__ import annotations

from errno import ENOENT

from netplumb.models.errors import Retryable, errno_name
from netplumb.models.kernel import KernelObject, Link, LinkUp, Scope
from netplumb.models.tc import IngressQdisc, Redirect, Tbf
from netplumb.reconciler.kernel.netlink.channel import Channel, Reply
from netplumb.reconciler.kernel.rtnetlink import tc
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt


def read_shaping(
    node: Channel, link: Link | None, name: str, ifb: tuple[Link, bool] | None, ifb_name: str
) -> list[KernelObject]:
    """`name` and `ifb_name` are those that the links should have, and that what is on them is held under.

    Raises Retryable when the kernel does not answer, with ENODEV where a link went since it was read.
    """
    found: list[KernelObject] = []
    names = {}
    if ifb is not None:
        names[ifb[0].index] = ifb_name
        if ifb[1]:
            found.append(LinkUp(Scope.NODE, ifb_name))
        found += _root(node, ifb[0], ifb_name)
    if link is None:
        return found
    found += _root(node, link, name)
    (reply,) = node.transact([tc.get_qdisc(link.index, tc.TC_H_INGRESS)])
    if isinstance(_qdisc(reply, name), IngressQdisc):
        filters = [body for _, body in node.dump(rt.RTM_GETTFILTER, tc.dump_filters(link.index))]
        # One that is empty beside our ifb is ours on its way: its filter comes after it, and goes before it.
        ours = all(map(tc.is_ours, filters)) if filters else ifb is not None
        found.append(IngressQdisc(name, ours=ours))
        redirects = [it for body in filters if (it := tc.redirect(body, name, names)) is not None]
        # More than one is none of what is ever wished.
        found += redirects if len(redirects) < 2 else [Redirect(name, "")]
    return found


def _root(node: Channel, link: Link, name: str) -> list[Tbf]:
    if link.qdisc != "tbf":
        return []
    (reply,) = node.transact([tc.get_qdisc(link.index, tc.TC_H_ROOT)])
    found = _qdisc(reply, name)
    return [found] if isinstance(found, Tbf) else []


def _qdisc(reply: Reply, name: str) -> Tbf | IngressQdisc | None:
    if reply.errno == ENOENT:
        return None
    if reply.errno:
        words = f"cannot read a qdisc of {name}: {errno_name(reply.errno)} {reply.words}".rstrip()
        raise Retryable(words, code=reply.errno)
    return tc.qdisc(reply.parts[0][1], name) if reply.parts else None
