"""What a kernel must be able to do is tried at start, and what it lacks is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.kernel import Address
from reconciler.kernel import encode
from reconciler.kernel.channel import Channel
from reconciler.kernel.encode import add_address
from reconciler.kernel.requirements import KernelLacksError, check_address_marks, check_kernel
from reconciler.kernel.wire import Request


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


def test_a_kernel_without_cookies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot tell namespaces apart for good is refused."""

    def refuse(_: object) -> int:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(Channel, "netns_cookie", property(refuse))
    with pytest.raises(KernelLacksError, match=r"SO_NETNS_COOKIE.*Linux 5\.14"):
        check_kernel()
