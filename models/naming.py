"""Names derived from an attachment's key. Deterministic, so that there is no table to lose."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

from netplumb.models.attachment import AttachmentKey
from netplumb.models.base import IPAddress

NODE_IF_PREFIX = "np"
IFB_PREFIX = "nq"
DEVICE_PREFIX = "np-"
"""Of the device to other nodes; no attachment's link has a dash in its name."""
ALIAS_PREFIX = "netplumb:"
WAYS_ALIAS = "netplumb to other nodes: "
ROUTING_TABLES = 78_000
_HASHED_TABLES_FROM = 1_000
_HASHED_TABLES = 1 << 24
_DIGEST_CHARS = 12
_NAME_CHARS = 2 + _DIGEST_CHARS


def _digest(key: AttachmentKey, size: int, person: bytes, *more: bytes) -> bytes:
    words = b"\0".join((f"{key.if_name}\0{key.workload_id}".encode(), *more))
    return blake2b(words, digest_size=size, person=person).digest()


@lru_cache(1 << 14)  # each pass asks a dozen times
def node_if_name(key: AttachmentKey) -> str:
    """The node's end of the attachment: `np` and 12 characters, 60 bits of a digest of the key."""
    return NODE_IF_PREFIX + b32encode(_digest(key, 8, b"if_name")).decode()[:_DIGEST_CHARS].lower()


def ifb_name(key: AttachmentKey) -> str:
    """The link that shapes what the workload sends: as the node's end, but `nq`."""
    return ifb_name_beside(node_if_name(key))


def ifb_name_beside(node_if_name: str) -> str:
    return IFB_PREFIX + node_if_name.removeprefix(NODE_IF_PREFIX)


def routing_table(if_name: str) -> int:
    """The table of a workload's interface in the workload, which its others do not have."""
    prefix, number = if_name[:3], if_name[3:]
    if prefix == "eth" and number.isdecimal() and number.isascii() and int(number) < _HASHED_TABLES_FROM:
        return ROUTING_TABLES + int(number)
    return ROUTING_TABLES + _HASHED_TABLES_FROM + crc32(if_name.encode()) % _HASHED_TABLES


def is_our_name(link: str) -> bool:
    """Whether a link of ours on the node may be called so."""
    of_attachment = len(link) == _NAME_CHARS and link.startswith((NODE_IF_PREFIX, IFB_PREFIX))
    return of_attachment or link.startswith(DEVICE_PREFIX)


def workload_mac(key: AttachmentKey, addresses: Iterable[IPAddress] = ()) -> str:
    """The MAC address of a workload that is given these addresses: unicast, locally administered (IEEE 802, section
    8.4). Who comes again with others comes with another."""
    octets = bytearray(_digest(key, 6, b"mac", *(address.packed for address in addresses)))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def alias_of(key: AttachmentKey) -> str:
    """The alias of the node's end, from which the key can be read back. An interface name holds no colon."""
    return f"{ALIAS_PREFIX}{key.if_name}:{key.workload_id}"


def key_of_alias(alias: str) -> AttachmentKey | None:
    """The key in an alias, None if it is not one of ours."""
    if not alias.startswith(ALIAS_PREFIX):
        return None
    if_name, colon, workload_id = alias.removeprefix(ALIAS_PREFIX).partition(":")
    return AttachmentKey(workload_id, if_name) if colon and if_name and workload_id else None


def node_mac(node: str) -> bytes:
    """The MAC address of a node's device to the others, which they know by its name: unicast, locally administered."""
    octets = bytearray(blake2b(node.encode(), digest_size=6, person=b"node").digest())
    octets[0] = octets[0] & 0xFC | 0x02
    return bytes(octets)


def ways_alias(node: str) -> str:
    return f"{WAYS_ALIAS}{node}"
