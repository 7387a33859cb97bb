"""Ways into network namespaces: the paths by which this machine's can be reached, and the number that the node knows
each by (its nsid), which links carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack_from

from netplumb.models.attachment import NETNS_DIR
from netplumb.models.errors import Retryable, errno_name
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request, attribute, attributes
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_RTGENMSG = bytes(4)  # family AF_UNSPEC, padded

_ESCAPED = re.compile(r"\\([0-7]{3})")


def nsid_of(node: Channel, namespace_fd: int) -> int | None:
    """The number by which the node knows the namespace; None if it has none, as without a link between the two.

    Raises Retryable when the kernel does not tell.
    """
    body = _RTGENMSG + attribute(rt.NETNSA_FD, pack("=I", namespace_fd))
    (reply,) = node.transact([Request(rt.RTM_GETNSID, 0, body)])
    if reply.errno or not reply.parts:
        name = errno_name(reply.errno)
        raise Retryable(f"the kernel does not tell the number of a network namespace: {name}", code=reply.errno)
    nsid = attributes(reply.parts[0][1], len(_RTGENMSG)).get(rt.NETNSA_NSID)
    number: int = unpack_from("=i", nsid)[0] if nsid is not None else -1
    return number if number >= 0 else None


def namespace_paths() -> Iterator[str]:
    """One path for each network namespace: where it is mounted, in /run/netns if there, else by a process in it."""
    known: set[str] = set()
    for namespace, path in [*sorted(_mounted(), key=_by_place), *_of_processes()]:
        if namespace not in known:
            known.add(namespace)
            yield path


def _by_place(found: tuple[str, str]) -> tuple[bool, str]:
    return not found[1].startswith(f"{NETNS_DIR}/"), found[1]


def _mounted() -> Iterator[tuple[str, str]]:
    """(`net:[inode]`, mount point) of each mount of a namespace, proc_pid_mountinfo(5)."""
    for line in Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[3].startswith("net:["):
            yield fields[3], _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])


def _of_processes() -> Iterator[tuple[str, str]]:
    for pid in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        path = Path(f"/proc/{pid}/ns/net")
        with suppress(OSError):  # it ended, or is not ours to look into
            yield str(path.readlink()), str(path)
