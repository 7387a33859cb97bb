"""What the kernel must be able to do, tried at start, so that a lack is named before anything depends on it."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from netplumb.models.errors import NetplumbError, Retryable, errno_name
from netplumb.models.kernel import ADDRESS_PROTOCOL, Address, Scope
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import dumps, encode

PROBE = bytes((169, 254, 77, 254))

_LO = {LO_INDEX: "lo"}


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
    other daemon runs, which would take the probe for a leftover of its own. Raises KernelLacksError or Retryable."""
    with Channel() as channel:
        if not any(address.protocol == ADDRESS_PROTOCOL for address in dumps.addresses(channel, Scope.NODE, _LO)):
            _try_address_marks(channel)


def _try_address_marks(channel: Channel) -> None:
    probe = Address(Scope.NODE, "lo", PROBE, 32)
    try:
        (added,) = channel.transact(encode.add_address(probe, LO_INDEX))
        if added.errno == errno.EPERM:
            raise KernelLacksError("netplumb may not change the network here: CAP_NET_ADMIN is needed (run it as root)")
        if added.errno:
            raise KernelLacksError(f"an address cannot be set on the loopback interface: {errno_name(added.errno)}")
        if probe not in dumps.addresses(channel, Scope.NODE, _LO):
            raise KernelLacksError("the kernel does not keep IFA_PROTO, the mark on addresses (Linux 5.18)")
    finally:
        # Also where no answer came. Has this none either, the probe goes with the first look at the node's addresses.
        with suppress(Retryable):
            channel.transact(encode.delete_address(probe, LO_INDEX))
