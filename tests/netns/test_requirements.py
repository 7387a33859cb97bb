"""What a kernel must be able to do is tried at start, and what it lacks is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from netplumb.models.errors import Retryable
from netplumb.models.kernel import Address, Scope
from netplumb.reconciler.kernel import requirements
from netplumb.reconciler.kernel.netlink.channel import Channel, Reply
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.requirements import KernelLacksError, check_address_marks, check_kernel
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink.encode import add_address
from netplumb.reconciler.kernel.rtnetlink.vocabulary import RTM_GETADDR


def test_this_kernel_has_what_is_needed() -> None:
    """The kernel that runs the tests passes, and the probe leaves nothing behind."""
    check_kernel()
    check_address_marks()
    check_address_marks()


def test_a_kernel_that_forgets_the_mark_on_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes IFA_PROTO and does not keep it, as before Linux 5.18, is refused with that name and version."""

    def without_mark(address: Address, index: int) -> list[Request]:
        return add_address(replace(address, protocol=0), index)

    monkeypatch.setattr(encode, "add_address", without_mark)
    with pytest.raises(KernelLacksError, match=r"IFA_PROTO.*Linux 5\.18"):
        check_address_marks()


class Deaf(Channel):
    """A channel on which the answer to the first request is lost."""

    asked = False

    def transact(self, requests: Sequence[Request]) -> list[Reply]:
        replies = super().transact(requests)
        if not self.asked:
            self.asked = True
            raise Retryable("the kernel did not answer")
        return replies


def test_a_probe_that_is_not_answered_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with Channel() as channel:
        before = channel.dump(RTM_GETADDR, encode.dump_addresses(1))
    monkeypatch.setattr(requirements, "Channel", Deaf)
    with pytest.raises(Retryable):
        check_address_marks()
    with Channel() as channel:
        assert channel.dump(RTM_GETADDR, encode.dump_addresses(1)) == before


def test_where_a_marked_address_is_there_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart puts nothing on a node that shows already what its kernel can do."""
    first_hop = Address(Scope.NODE, "lo", bytes((169, 254, 77, 1)), 32)
    with Channel() as channel:
        channel.transact(encode.add_address(first_hop, 1))

    def refused(address: Address, index: int) -> list[Request]:
        raise AssertionError("an address is set")

    monkeypatch.setattr(encode, "add_address", refused)
    check_address_marks()


def test_a_kernel_without_cookies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot tell namespaces apart for good is refused."""

    def refuse(_: object) -> int:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(Channel, "netns_cookie", property(refuse))
    with pytest.raises(KernelLacksError, match=r"SO_NETNS_COOKIE.*Linux 5\.14"):
        check_kernel()
