"""Switches of the network namespace that the thread is in."""

from __future__ import annotations

import errno

import pytest

from netplumb.models.errors import Retryable, Terminal
from netplumb.reconciler.kernel import sysctls
from tests.netns.conftest import NodeNamespace

FORWARDING = "net/ipv4/ip_forward"


def test_a_switch_is_read_and_written_in_the_threads_own_namespace(node: NodeNamespace) -> None:
    """Setting a switch on the node changes nothing in another namespace."""
    sysctls.write(FORWARDING, "1")
    assert sysctls.read(FORWARDING) == "1"
    with node.in_netns(node.netns("workload")):
        assert sysctls.read(FORWARDING) == "0"


def test_a_switch_that_is_not_there_reads_as_none_and_cannot_be_written() -> None:
    """An interface may be gone by the time its switch is set; a later pass sees that, so it is retryable."""
    assert sysctls.read("net/ipv6/conf/gone/proxy_ndp") is None
    with pytest.raises(Retryable, match="ENOENT") as refused:
        sysctls.write("net/ipv6/conf/gone/proxy_ndp", "1")
    assert (refused.value.code, refused.value.subject) == (errno.ENOENT, "sysctl net.ipv6.conf.gone.proxy_ndp")


@pytest.mark.parametrize(
    "name", ["net/ipv4/tcp_nonsense", "net/ipv4/ip_forward/x", "net/ipv4", f"net/ipv4/{'x' * 300}"]
)
def test_a_switch_that_no_kernel_has_is_terminal(name: str) -> None:
    """It belongs to no interface that could come back, so nobody need wait for it."""
    with pytest.raises(Terminal, match="this kernel has no such switch"):
        sysctls.write(name, "1")


def test_a_value_that_the_kernel_refuses_is_terminal() -> None:
    """No repetition makes the kernel take it."""
    with pytest.raises(Terminal, match="EINVAL"):
        sysctls.write(FORWARDING, "maybe")


@pytest.mark.parametrize("name", ["net/../kernel/hostname", "net/ipv4/..", "kernel/hostname", "/etc/passwd", ""])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Neither reading nor writing leaves the network's switches."""
    with pytest.raises(Terminal, match="not a network sysctl"):
        sysctls.read(name)
    with pytest.raises(Terminal, match="not a network sysctl"):
        sysctls.write(name, "1")
