"""What others hold makes no read of one attachment dearer, and no read of a workload is longer than its bound."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netplumb.models.errors import TooLarge
from netplumb.models.kernel import RT_SCOPE_LINK, Link, Neighbour, Route, Rule, Scope
from netplumb.reconciler.kernel.netlink.channel import AT_ONCE, OF_A_WORKLOAD, Bound, Channel
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.netns.conftest import NodeNamespace

MINE = bytes((10, 1, 0, 2))
OTHERS = 30_000
LINKS = 100
TRIED_S = 30.0
_A_SEND = 60


def _add_all(channel: Channel, requests: list[Request]) -> None:
    for start in range(0, len(requests), _A_SEND):
        for reply in channel.transact(requests[start : start + _A_SEND]):
            assert not reply.errno, reply


def _veth(name: str, other: str) -> int:
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", other], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return socket.if_nametoindex(name)


@pytest.fixture
def link() -> int:
    return _veth("np0", "np1")


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel() as made:
        yield made


def test_anothers_neighbours_make_no_read_dearer(node: NodeNamespace, channel: Channel, link: int) -> None:
    """The kernel has one table of neighbours for all namespaces, and a dump walks all of it. What is read of one
    attachment is asked for instead: a dump takes many times as long, and its own read does not."""
    (add,) = encode.add_neighbour(Neighbour(Scope.NODE, "np0", MINE, bytes(6)), link)
    _add_all(channel, [add])

    def read() -> None:
        assert len(dumps.neighbours_at(channel, [MINE], Scope.NODE, {link: "np0"})) == 1

    def dump() -> None:
        dumps.neighbours(channel, encode.dump_neighbours(index=link), Scope.NODE, {link: "np0"})

    alone = _takes_s(read)
    with node.in_netns(node.netns("tenant")), Channel() as inside:
        index = _veth("eth0", "eth1")
        some = ((0x1E000000 + number).to_bytes(4, "big") for number in range(OTHERS))
        neighbours = [Neighbour(Scope.WORKLOAD, "eth0", ip, bytes(6)) for ip in some]
        _add_all(inside, [request for it in neighbours for request in encode.add_neighbour(it, index)])
    beside, dumped = _takes_s(read), _takes_s(dump)
    print(
        f"a read takes {beside / alone:.1f} times as long as before, a dump {dumped / beside:.0f} times as long as it"
    )
    assert beside < 3 * alone
    assert dumped > 5 * beside


def _takes_s(work: Callable[[], None]) -> float:
    """What the thread works for it, at its quickest."""

    def once_s() -> float:
        began = time.thread_time()
        for _ in range(20):
            work()
        return time.thread_time() - began

    return min(once_s() for _ in range(5))


@pytest.mark.parametrize("bound", [AT_ONCE, OF_A_WORKLOAD], ids=["at once", "of a workload"])
def test_no_read_is_longer_than_its_bound(channel: Channel, link: int, bound: Bound) -> None:
    """Of routes and of rules, whatever there is."""
    count = int(bound.most_bytes) // 40
    routes = [
        Route(Scope.NODE, (0x14000000 + number).to_bytes(4, "big"), 32, "np0", rt_scope=RT_SCOPE_LINK)
        for number in range(count)
    ]
    _add_all(channel, [request for route in routes for request in encode.add_route(route, link)])
    rules = [Rule(Scope.NODE, number, src=MINE, src_len=32) for number in range(1, count)]
    _add_all(channel, [request for rule in rules for request in encode.add_rule(rule)])
    with Channel() as another, pytest.raises(TooLarge, match="routes"):
        dumps.routes(another, encode.dump_routes(rt.AF_INET), Scope.WORKLOAD, {link: "np0"}, bound)
    with Channel() as another, pytest.raises(TooLarge, match="rules"):
        dumps.rules(another, Scope.WORKLOAD, bound)
    assert len(dumps.routes(channel, encode.dump_routes(rt.AF_INET), Scope.NODE, {link: "np0"})) == count


def test_a_read_of_all_ends_while_links_come_and_go(channel: Channel) -> None:
    """Such a dump is never consistent. Taken in part it ends all the same, says so, and tells of what stays."""
    stays = [_veth(f"np{number}", f"other{number}") for number in range(LINKS)]
    ended = threading.Event()
    churn = threading.Thread(target=_churn, args=(ended,))
    churn.start()
    try:
        wholes: list[bool] = []
        ends = time.monotonic() + TRIED_S
        while len(wholes) < 20 or (all(wholes) and time.monotonic() < ends):
            found, whole = channel.dump_in_part(rt.RTM_GETLINK, encodelinks.dump_links())
            indexes = {decode.link(Scope.NODE, body)[0].index for _, body in found}
            assert len(indexes & set(stays)) > LINKS * 0.8
            wholes.append(whole)
    finally:
        ended.set()
        churn.join()
    assert not all(wholes), "no read was interrupted, so nothing was tried"
    assert channel.dump_in_part(rt.RTM_GETLINK, encodelinks.dump_links())[1], "it is whole when nobody changes anything"


def _churn(ended: threading.Event) -> None:
    with Channel() as channel:
        near = Link(Scope.NODE, "come", "veth", mac=bytes((2, 0, 0, 0, 0, 1)), mtu=1500, group=0, alias="")
        far = replace(near, name="go", mac=bytes((2, 0, 0, 0, 0, 2)))
        with Path("/proc/thread-self/ns/net").open() as node:
            while not ended.is_set():
                channel.transact([encodelinks.create_pair(near, far, node.fileno())])
                channel.transact(encodelinks.delete_link(socket.if_nametoindex("come")))
