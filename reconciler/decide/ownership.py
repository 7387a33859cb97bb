"""PURE: is this object ours? Read from the marks on the object itself, never from memory.

A delete ignores the mark of an address, so these are asked just before. A new kind of object comes with its rule here.
"""

from __future__ import annotations

from netplumb.models.kernel import (
    ADDRESS_PROTOCOL,
    LINK_GROUP,
    RT_PROTOCOL,
    WAYS_GROUP,
    Address,
    FdbEntry,
    KernelObject,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Rule,
    Scope,
    Sysctl,
)
from netplumb.models.naming import DEVICE_PREFIX, IFB_PREFIX, NODE_IF_PREFIX, WAYS_ALIAS, key_of_alias
from netplumb.models.nft import NftChain, NftElement, NftHooks, NftSet
from netplumb.models.tc import HANDLE, IngressQdisc, Redirect, Tbf

_PREFIXES = {"veth": NODE_IF_PREFIX, "ifb": IFB_PREFIX}


def is_ours(thing: KernelObject) -> bool:
    """Whether netplumb made the object, and so may change and remove it."""
    match thing:
        case Link():
            return thing.scope is Scope.NODE and (is_our_link(thing) or is_our_tunnel(thing))
        case Address():
            return thing.protocol == ADDRESS_PROTOCOL
        case Route() | Neighbour() | Rule():
            return thing.protocol == RT_PROTOCOL
        case NftSet() | NftChain() | NftElement():
            return True  # the whole table is ours
        case FdbEntry():
            return True  # it is looked for on our device alone
        case NftHooks():
            return True  # it is seen only where it belongs to our socket
        case Tbf():
            return thing.handle == HANDLE
        case IngressQdisc():
            return thing.ours  # it is looked for on our links alone
        case Redirect():
            return True  # it is looked for on our links alone, by our preference
        case Sysctl() | LinkUp():
            return False  # switches of objects that others own too: set, never removed


def is_our_link(link: Link) -> bool:
    """A veth's end on the node, or an ifb, is ours by any two of its three marks, so that none can be lost to damage
    alone: the link group, the alias that carries the key, the prefix of the name."""
    if (prefix := _PREFIXES.get(link.kind)) is None:
        return False
    marks = (link.group == LINK_GROUP, key_of_alias(link.alias or "") is not None, link.name.startswith(prefix))
    return sum(marks) >= 2


def is_our_tunnel(link: Link) -> bool:
    """The device to other nodes is ours by any two of its three marks, which are of the same kinds."""
    if link.kind != "vxlan":
        return False
    named = link.name.startswith(DEVICE_PREFIX)
    return sum((link.group == WAYS_GROUP, (link.alias or "").startswith(WAYS_ALIAS), named)) >= 2
