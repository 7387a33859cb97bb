"""PURE: what later plugins of a CNI chain made of the workload's interface, which is followed and not undone.

A plugin sees nothing of those behind it: `tuning` sets another MAC or MTU when our ADD is done. So of what a runtime
attached, the interface's MAC and MTU are as they are found, and the node's side goes by them. They are put right where
nobody set them inside: a new MTU of the node, and damage to the node's end.
"""

from __future__ import annotations

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import Link

_IPV4_MTU_MIN = 68  # RFC 791 section 3.2; the kernel takes IPv6 off a link below its own minimum


def followed(record: Attachment, node_mtu: int, node_end: Link | None, workload_end: Link | None) -> Attachment:
    """The record, with the MAC and the MTU that the interface was found with."""
    if not record.is_chained or node_end is None or workload_end is None or not workload_end.peer:
        return record
    update: dict[str, object] = {}
    if workload_end.mac and (mac := workload_end.mac.hex(":")) != record.mac:
        update["mac"] = mac
    mtu = workload_end.mtu or 0
    # Where both ends agree nobody set one of them: the node's own MTU is another than when they were made.
    if mtu not in (node_end.mtu, record.mtu_on(node_mtu)) and mtu >= _IPV4_MTU_MIN:
        update["chain_mtu"] = mtu
    return record.model_copy(update=update) if update else record
