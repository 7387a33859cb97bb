"""What a pass over the node may do to elements of the table that are others' to make and to take away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from netplumb.models.network import Node
from netplumb.models.nft import WORKLOADS_CLOSED, NftElement
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.loop.nodewish import NodeWish
from tests.netns.conftest import NodeNamespace

LINK = "np0a1b2c3d4e5f"
CLOSED = NftElement(WORKLOADS_CLOSED.name, (LINK,), owner=LINK)


@pytest.fixture
def kernel(node: NodeNamespace) -> Iterator[LinuxKernel]:
    with closing(Nftables()) as nftables, closing(LinuxKernel(nftables)) as made:
        yield made


def converged(kernel: LinuxKernel, *elements: NftElement, under_way: tuple[str, ...] = ()) -> set[NftElement]:
    """What the table holds once a pass has made of the node what is wanted."""
    wish = NodeWish(Node(), lambda _: elements, frozenset(), may_remove=True, under_way=frozenset(under_way))
    assert not kernel.apply_node(wish.compared(kernel)[1].steps)
    return set(kernel.observe_elements().values())


def test_an_orphan_keeps_its_guards_until_it_is_gone(kernel: LinuxKernel) -> None:
    """Nobody wants the link any more, yet it is there and may send: its removal takes them."""
    subprocess.run(["ip", "link", "add", LINK, "type", "veth", "peer", "name", "other"], check=True)
    assert converged(kernel, CLOSED) == {CLOSED}
    assert converged(kernel) == {CLOSED}
    subprocess.run(["ip", "link", "delete", LINK], check=True)
    assert converged(kernel) == set()


def test_what_a_pass_under_way_has_just_written_stays(kernel: LinuxKernel) -> None:
    """The pass knows the workload's new wish; what is known of the last one is neither removed nor brought back."""
    assert converged(kernel, CLOSED) == {CLOSED}
    assert converged(kernel, under_way=(LINK,)) == {CLOSED}
    assert converged(kernel) == set()
    assert converged(kernel, CLOSED, under_way=(LINK,)) == set()
