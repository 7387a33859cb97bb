"""That links are gone is told before the request that removed them is answered, and nothing else is."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from netplumb.models.kernel import Scope
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import decode, encodelinks
from netplumb.reconciler.kernel.rtnetlink.departures import Departures


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def index_of(channel: Channel, name: str) -> int:
    (reply,) = channel.transact([encodelinks.get_link_by_name(name)])
    return decode.link(Scope.NODE, reply.parts[0][1])[0].index


@pytest.fixture
def departures() -> Iterator[Departures]:
    made = Departures()
    yield made
    made.close()


def test_it_is_told_first(departures: Departures) -> None:
    """A request of one link and one of a group: both are told of while the kernel still waits with its answer."""
    first = 0
    with Channel() as asking, Channel() as removing, ThreadPoolExecutor(1) as thread:
        for attempt in range(10):
            for name in ("a0", "b0"):
                ip(f"link add {name} group 77 type veth peer name {name}p group 78")
            wanted = {index_of(asking, "a0"), index_of(asking, "b0")}
            requests = [encodelinks.delete_group(77)] if attempt % 2 else encodelinks.delete_link(min(wanted))
            wanted = wanted if attempt % 2 else {min(wanted)}
            answer = thread.submit(removing.transact, requests)
            heard: set[int] = set()
            ends = time.monotonic() + 5
            while not wanted <= heard and time.monotonic() < ends:
                select.select([departures.fileno()], [], [], 1)
                heard |= set(departures.drain())
            assert wanted <= heard
            first += not answer.done()
            assert answer.result()[-1].errno == 0
            if not attempt % 2:
                ip("link delete b0")
            list(departures.drain())
    assert first >= 8, f"told before the answer {first} times of 10"


def test_what_leaves_a_bridge_is_not_gone(departures: Departures) -> None:
    """The kernel says that with the same message, of another family."""
    ip("link add br0 type bridge")
    ip("link add a0 type veth peer name b0")
    ip("link set a0 master br0")
    ip("link set a0 nomaster")
    ip("link set a0 up")
    assert list(departures.drain()) == []
