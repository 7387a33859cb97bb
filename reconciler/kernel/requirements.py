"""What the kernel must be able to do, tried at start, so that a lack is named before anything depends on it."""

from __future__ import annotations

import errno
from pathlib import Path

from models.errors import NetplumbError, errno_name
from models.kernel import Address, Scope
from reconciler.kernel import encode
from reconciler.kernel.channel import Channel
from reconciler.kernel.decode import address as decode_address
from reconciler.kernel.namespaces import LO_INDEX
from reconciler.kernel.rtnetlink import RTM_GETADDR

PROBE = bytes((169, 254, 77, 254))


class KernelLacksError(NetplumbError):
    """This kernel cannot do what netplumb needs; the message names the feature and the version that brought it."""


def check_kernel() -> None:
    """Raises KernelLacksError for the first thing that is missing."""
    if not Path("/proc/self/ns/net").exists():
        raise KernelLacksError("this kernel has no network namespaces (CONFIG_NET_NS)")
    try:
        channel = Channel()
    except OSError as error:
        raise KernelLacksError(f"rtnetlink with strict checking (Linux 4.20) is missing: {error.strerror}") from None
    with channel:
        try:
            _ = channel.netns_cookie
        except OSError as error:
            raise KernelLacksError(f"SO_NETNS_COOKIE (Linux 5.14) is missing: {error.strerror}") from None


def check_address_marks() -> None:
    """IFA_PROTO (Linux 5.18) marks addresses as ours; an older kernel takes it and forgets it. To be asked where no
    other daemon runs, which would take the probe for a leftover of its own. Raises KernelLacksError."""
    with Channel() as channel:
        _check_address_marks(channel)


def _check_address_marks(channel: Channel) -> None:
    probe = Address(Scope.NODE, "lo", PROBE, 32)
    (added,) = channel.transact(encode.add_address(probe, LO_INDEX))
    if added.errno == errno.EPERM:
        raise KernelLacksError("netplumb may not change the network here: CAP_NET_ADMIN is needed (run it as root)")
    if added.errno:
        raise KernelLacksError(f"an address cannot be set on the loopback interface: {errno_name(added.errno)}")
    try:
        found = channel.dump(RTM_GETADDR, encode.dump_addresses(LO_INDEX))
        marks = [decode_address(Scope.NODE, body, {LO_INDEX: "lo"}) for _, body in found]
        if probe not in marks:
            raise KernelLacksError("the kernel does not keep IFA_PROTO, the mark on addresses (Linux 5.18)")
    finally:
        channel.transact(encode.delete_address(probe, LO_INDEX))
