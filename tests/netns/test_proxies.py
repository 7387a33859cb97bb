"""The look at proxy neighbours, on the real kernel."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from netplumb.models.errors import Retryable
from netplumb.reconciler.kernel.rtnetlink import proxies as proxies_module
from netplumb.reconciler.kernel.rtnetlink.proxies import ProxyNeighbours
from tests.netns.conftest import NodeNamespace

FIRST_HOP = "fe80::1"
MANY = 1500  # more than one datagram of a dump holds


def batch(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True, timeout=60)


@pytest.fixture
def proxies(node: NodeNamespace) -> Iterator[ProxyNeighbours]:
    batch("link add np0 type veth peer name np1", "link set np0 up", "link set np1 up")
    with closing(ProxyNeighbours()) as made:
        yield made


def index(link: str) -> int:
    shown = subprocess.run(["ip", "-o", "link", "show", link], capture_output=True, text=True, check=True)
    return int(shown.stdout.partition(":")[0])


def test_the_interfaces_with_a_proxy_neighbour_are_seen(proxies: ProxyNeighbours) -> None:
    """Each look shows what is there now."""
    assert proxies.indexes() == set()
    batch(f"neighbour add proxy {FIRST_HOP} dev np0", f"neighbour add proxy {FIRST_HOP} dev np1")
    assert proxies.indexes() == {index("np0"), index("np1")}
    batch(f"neighbour delete proxy {FIRST_HOP} dev np0")
    assert proxies.indexes() == {index("np1")}
    batch("link delete np0")
    assert proxies.indexes() == set()


def test_other_neighbours_are_none(proxies: ProxyNeighbours) -> None:
    """Neither a permanent neighbour nor an IPv4 proxy is taken for one."""
    batch("neighbour add 10.1.0.9 lladdr 02:00:00:00:00:01 dev np0", "neighbour add proxy 10.1.0.9 dev np0")
    batch("neighbour add fd01::9 lladdr 02:00:00:00:00:01 dev np0 nud permanent")
    assert proxies.indexes() == set()


def test_a_look_that_finds_nothing_new_reads_nothing_anew(proxies: ProxyNeighbours) -> None:
    """The same bytes are the same set."""
    batch(f"neighbour add proxy {FIRST_HOP} dev np0")
    seen = proxies.indexes()
    assert proxies.indexes() is seen


def test_a_dump_of_many_datagrams_is_read_to_its_end(proxies: ProxyNeighbours) -> None:
    """However many there are, none is missed."""
    batch(*(f"neighbour add proxy fd00::{number:x} dev np0" for number in range(MANY)))
    batch(f"neighbour add proxy {FIRST_HOP} dev np1")
    for _ in range(3):
        assert proxies.indexes() == {index("np0"), index("np1")}


def test_a_dump_that_broke_off_is_not_mixed_with_the_next(
    proxies: ProxyNeighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not read of it is gone."""
    batch(*(f"neighbour add proxy fd00::{number:x} dev np0" for number in range(MANY)))
    with monkeypatch.context() as patch:
        patch.setattr(proxies_module, "_is_last", broken_off)
        with pytest.raises(Retryable):
            proxies.indexes()
    batch("link delete np0")
    for _ in range(3):
        assert proxies.indexes() == set()


def broken_off(_: bytes) -> bool:
    raise OSError(errno.ENOBUFS, "lost")
