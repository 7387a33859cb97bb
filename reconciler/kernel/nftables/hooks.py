"""Our second nftables table, `inet netplumb-hooks`: chains at the hooks of address translation that do nothing.

Established flows are translated by what connection tracking remembers, and not by our rules; but the kernel tracks and
translates only while some rule asks for the one and some chain is for the other. While our table is away, as between
another program's `nft flush ruleset` and the repair, a busy connection would be reset by packets that nobody
translated. A table with the flag `owner` (Linux 5.12) is spared by that command, nobody else can change or delete it,
and it goes with the socket that made it. So that socket is kept open for as long as the daemon lives, and serves
nothing else.
"""

from __future__ import annotations

import errno
import socket
import threading
from struct import pack

import structlog

from netplumb.models.nft import HOOKS_TABLE
from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER
from netplumb.reconciler.kernel.netlink.wire import attribute, attributes, text
from netplumb.reconciler.kernel.nftables import batch
from netplumb.reconciler.kernel.nftables.libnftables import failure

# include/uapi/linux/netfilter/nf_tables.h
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUM, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _LIST_ELEM, _EXPR_NAME, _EXPR_DATA = 1, 2, 4, 1, 1, 2
_CT_DREG, _CT_KEY, _CT_DIRECTION = 1, 2, 1
_CMP_SREG, _CMP_OP, _CMP_DATA, _DATA_VALUE, _REGISTER, _EQUAL = 1, 2, 3, 1, 1, 0
_COMMENT = 0  # NFTNL_UDATA_TABLE_COMMENT, of libnftnl
_NESTED = 1 << 15
_HOOKS = {"prerouting": 0, "input": 1, "output": 3, "postrouting": 4}
_TAKEN = frozenset({errno.EPERM, errno.EEXIST})
"""What the kernel says of a stranger's table of that name, or one of `_NEVER`, as that table's flags are."""
_NEVER = batch.REFUSED | {errno.ENOENT}
"""What a kernel says that does not know the flag, or has no such chains."""

log = structlog.get_logger(__name__)


class NatHooks:
    """Of the namespace in which it was made. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._never = False
        self._taken = False

    def close(self) -> None:
        """The table goes with it."""
        self._socket.close()

    def do_without(self) -> None:
        """There is to be no such table by this socket."""
        self._never = True

    def available(self) -> bool:
        """Whether the kernel gives us such a table, as far as it was asked: not while a stranger's has its name. Raises
        Retryable when the kernel does not answer."""
        with self._lock:
            self._taken = self._taken and batch.table(self._socket, HOOKS_TABLE) is not None
        return not (self._never or self._taken)

    def kept(self) -> bool:
        """Whether the table is there and ours. Raises Retryable when the kernel does not answer."""
        with self._lock:
            body = batch.table(self._socket, HOOKS_TABLE)
        told = attributes(body, 4) if body is not None else {}
        own: int = self._socket.getsockname()[0]
        return int.from_bytes(told.get(batch.TABLE_OWNER, b""), "big") == own

    def keep(self) -> None:
        """Makes the table. Where the kernel never will, or not while a stranger's has its name, that is said in the
        log, once, and nothing else comes of it. Raises StepError where another attempt may do."""
        chains = ((batch.NEW_CHAIN, _chain(*hook)) for hook in _HOOKS.items())
        made = ((batch.NEW_TABLE, _table()), *chains, (batch.NEW_RULE, _rule("prerouting")))
        with self._lock:
            code = batch.commit(self._socket, *made)
            if code in _NEVER | _TAKEN:
                self._taken = code in _TAKEN or batch.table(self._socket, HOOKS_TABLE) is not None
                self._never = not self._taken
        if not code:
            return
        error = failure(code, f"the kernel gives us no table inet {HOOKS_TABLE} of our own")
        if code not in _NEVER | _TAKEN:
            raise error
        log.warning("a flush of the ruleset by others may reset busy connections", cause=str(error))


def _table() -> bytes:
    comment = b"keeps connections translated while other tables are made anew\0"
    body = batch.table_body(HOOKS_TABLE, batch.OWNER)
    return body + attribute(batch.TABLE_USERDATA, pack("=BB", _COMMENT, len(comment)) + comment)


def _chain(name: str, number: int) -> bytes:
    hook = attribute(_HOOK_NUM, pack(">I", number)) + attribute(_HOOK_PRIORITY, pack(">i", 0))
    body = text(_CHAIN_TABLE, HOOKS_TABLE) + text(_CHAIN_NAME, name) + attribute(_CHAIN_HOOK | _NESTED, hook)
    return body + text(_CHAIN_TYPE, "nat")


def _rule(chain: str) -> bytes:
    """`ct direction original`, of which nothing follows: that it is asked for makes the kernel track connections."""
    asked = attribute(_CT_DREG, pack(">I", _REGISTER)) + attribute(_CT_KEY, pack(">I", _CT_DIRECTION))
    compared = attribute(_CMP_SREG, pack(">I", _REGISTER)) + attribute(_CMP_OP, pack(">I", _EQUAL))
    compared += attribute(_CMP_DATA | _NESTED, attribute(_DATA_VALUE, b"\0"))
    expressions = b"".join(
        attribute(_LIST_ELEM | _NESTED, text(_EXPR_NAME, name) + attribute(_EXPR_DATA | _NESTED, data))
        for name, data in (("ct", asked), ("cmp", compared))
    )
    body = text(_RULE_TABLE, HOOKS_TABLE) + text(_RULE_CHAIN, chain)
    return body + attribute(_RULE_EXPRESSIONS | _NESTED, expressions)
