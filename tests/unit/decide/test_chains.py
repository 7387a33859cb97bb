"""What of a chained interface is followed, and what is put right."""

from __future__ import annotations

from typing import Any

import pytest

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import Link, Scope
from netplumb.reconciler.decide.chains import followed

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99"
NODE_MTU = 1500


def record(source: str = "cni/front", *, chain_mtu: int = 0, **wish: Any) -> Attachment:
    spec = {"workload_id": "web", "netns": {"name": "web"}, **wish}
    return Attachment.model_validate({"spec": spec, "source": source, "mac": MAC, "chain_mtu": chain_mtu})


def ends(node_mtu: int, mtu: int, mac: str = MAC) -> tuple[Link, Link]:
    node = Link(Scope.NODE, "npweb", mtu=node_mtu, peer="eth0")
    return node, Link(Scope.WORKLOAD, "eth0", mac=bytes.fromhex(mac.replace(":", "")), mtu=mtu, peer="npweb")


@pytest.mark.parametrize(
    ("before", "node_mtu", "mtu", "after"),
    [
        (record(), 1500, 1500, 0),
        (record(), 1500, 1400, 1400),
        (record(mtu=1450), 1450, 1400, 1400),
        (record(), 1500, 1000, 1000),
        (record(chain_mtu=1400), 1400, 1400, 1400),
        (record(chain_mtu=1400), 1400, 1300, 1300),
        (record(chain_mtu=1400), 1300, 1400, 1400),
        (record(), 1400, 1500, 0),
        (record(), 9000, 9000, 0),
        (record(), 9000, 1400, 1400),
        (record("rebuilt"), 1500, 1400, 1400),
        (record("rpc"), 1500, 1400, 0),
        (record("file/a"), 1500, 1400, 0),
    ],
)
def test_an_mtu_that_was_set_inside_is_followed(before: Attachment, node_mtu: int, mtu: int, after: int) -> None:
    """Damage to the node's end, and a node whose MTU changed, are put right."""
    found = followed(before, NODE_MTU, *ends(node_mtu, mtu))
    assert found.chain_mtu == after
    assert found.mtu_on(NODE_MTU) == (after or before.spec.mtu or NODE_MTU)
    assert followed(found, NODE_MTU, *ends(found.mtu_on(NODE_MTU), found.mtu_on(NODE_MTU))) is found


@pytest.mark.parametrize(("source", "mac"), [("cni/front", OTHER_MAC), ("rebuilt", OTHER_MAC), ("rpc", MAC)])
def test_a_mac_that_was_set_inside_is_followed(source: str, mac: str) -> None:
    assert followed(record(source), NODE_MTU, *ends(1500, 1500, OTHER_MAC)).mac == mac


def test_an_interface_that_is_not_ours_tells_nothing() -> None:
    """Nor one that could not be seen."""
    node, foreign = Link(Scope.NODE, "npweb", mtu=1500), Link(Scope.WORKLOAD, "eth0", mac=bytes(6), mtu=1400)
    assert followed(record(), NODE_MTU, node, foreign) == record()
    assert followed(record(), NODE_MTU, node, None) == record()
    assert followed(record(), NODE_MTU, None, None) == record()
