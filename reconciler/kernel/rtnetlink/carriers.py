"""As what a VXLAN device of ours hands on a packet, for who follows one: the outer addresses and the port. What the
device learnt by itself is none of that, since ours learns nothing."""

from __future__ import annotations

from ipaddress import ip_address

from netplumb.models.base import IPAddress
from netplumb.models.kernel import Scope
from netplumb.models.nodestate import Carrier, LinkState
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from netplumb.reconciler.kernel.rtnetlink.routelookups import neighbour


def read_carrier(channel: Channel, link: LinkState, hop: IPAddress) -> Carrier | None:
    """To the node behind a next hop on the device; None where it is no VXLAN device with an address of its own. Raises
    Retryable."""
    found = dumps.link_in(Scope.NODE, channel.transact([encodelinks.get_link_by_index(link.index)])[0])
    if found is None or (tunnel := found[0].tunnel) is None or not tunnel.local:
        return None
    mac = neighbour(channel, link.index, hop)[1]
    bodies = (body for _, body in channel.dump(rt.RTM_GETNEIGH, encode.dump_fdb(link.index)))
    entries = filter(None, (decode.fdb_entry(body, {link.index: link.name}) for body in bodies))
    dst = next((ip_address(it.dst) for it in entries if it.mac.hex(":") == mac), None)
    return Carrier(ip_address(tunnel.local), dst, tunnel.port)
