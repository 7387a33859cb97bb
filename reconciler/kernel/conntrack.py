"""Forgets the flows that a change of port mappings made wrong.

Address translation is decided for the first packet of a flow. A UDP sender that goes on sending would be answered by
nobody for as long as it does: by a workload that is gone, or by the node itself where a mapping came later. Flows that
lead where they should are left alone, so that a repair of the rules breaks no connection.

The kernel filters a dump by protocol and port; addresses are compared here, since its own deletion by an IPv6 address
deletes others than asked for (Linux 6.18).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from struct import pack

from netplumb.models.errors import Retryable, errno_name
from netplumb.models.ports import End, Port
from netplumb.reconciler.kernel.channel import NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from netplumb.reconciler.kernel.wire import HEADER, Buffer, attribute, attributes, messages

_CT_NEW, _CT_GET, _CT_DELETE = (1 << 8 | message for message in (0, 1, 2))  # NFNL_SUBSYS_CTNETLINK
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE, _FILTER = 1, 2, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = {4: 1, 6: 3}, {4: 2, 6: 4}
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_PROTOCOL, _BY_DST_PORT = 1 << 3, 1 << 5  # CTA_FILTER_FLAG, net/netfilter/nf_conntrack_netlink.c
_NESTED = 1 << 15
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PORT_BY_PORT = 8
"""From so many ports of one protocol on, one dump of that protocol's flows is cheaper than one for each."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What was sent to `to` is answered from `answered_from`: by itself, or by whom it was translated to."""

    port: Port
    to: End
    answered_from: End
    identity: bytes


class Conntrack:
    """The flows of the namespace in which it was made; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.settimeout(5)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def forget(
        self,
        ports: Collection[Port],
        target_of: Callable[[Port, bytes], End | None],
        local_addresses: Callable[[], Collection[bytes]],
    ) -> int:
        """Forgets the flows to these ports of the node that do not lead to `target_of` them at an address, and returns
        how many there were. Raises Retryable when the kernel does not answer."""
        local: Collection[bytes] | None = None
        wrong = []
        for flow in self._flows(ports):
            target = target_of(flow.port, flow.to[0])
            if flow.answered_from == (target or flow.to):
                continue
            if flow.answered_from == flow.to:  # not translated; it is the node's if it was sent to the node
                local = local_addresses() if local is None else local
                if flow.to[0] not in local and flow.to[0][:1] != b"\x7f":
                    continue
            wrong.append(flow)
        for flow in wrong:
            self._send(_CT_DELETE, 0, flow.port[0], flow.identity)
        return len(wrong)

    def _flows(self, ports: Collection[Port]) -> Iterator[Flow]:
        for version, protocol in {(port[0], port[1]) for port in ports}:
            numbers = [port[2] for port in ports if port[:2] == (version, protocol)]
            for number in numbers if len(numbers) < _PORT_BY_PORT else (None,):
                for body in self._dump(version, _filter(protocol, number)):
                    flow = _flow(version, body)
                    if flow is not None and flow.port in ports:
                        yield flow

    def _send(self, type_: int, flags: int, version: int, body: bytes) -> None:
        self._sequence += 1
        payload = pack("=BBH", _FAMILIES[version], 0, 0) + body  # struct nfgenmsg
        try:
            self._socket.send(HEADER.pack(16 + len(payload), type_, NLM_F_REQUEST | flags, self._sequence, 0) + payload)
        except OSError as error:
            raise _lost(error) from None

    def _dump(self, version: int, body: bytes) -> list[Buffer]:
        self._send(_CT_GET, NLM_F_DUMP, version, body)
        found: list[Buffer] = []
        while True:
            try:
                datagram = memoryview(self._socket.recv(1 << 17))
            except OSError as error:
                raise _lost(error) from None
            for type_, _, sequence, _, answer in messages(datagram):
                if sequence != self._sequence:
                    continue  # of a deletion: the flow had ended by itself
                if type_ == NLMSG_ERROR:
                    code = -int.from_bytes(answer[:4], "little", signed=True)
                    raise Retryable(f"the kernel lists no flows: {errno_name(code)}", code=code, reason="FlowsFailed")
                if type_ == NLMSG_DONE:
                    return found
                if type_ == _CT_NEW:
                    found.append(answer)


def _filter(protocol: int, port: int | None) -> bytes:
    flags = _BY_PROTOCOL | (_BY_DST_PORT if port is not None else 0)
    proto = attribute(_PROTO_NUM, bytes((protocol,)))
    if port is not None:
        proto += attribute(_PROTO_DST_PORT, port.to_bytes(2, "big"))
    wanted = attribute(_TUPLE_ORIG | _NESTED, attribute(_TUPLE_PROTO | _NESTED, proto))
    by = attribute(_FILTER_ORIG_FLAGS, pack("=I", flags)) + attribute(_FILTER_REPLY_FLAGS, pack("=I", 0))
    return wanted + attribute(_FILTER | _NESTED, by)


def _flow(version: int, body: Buffer) -> Flow | None:
    found = attributes(body, 4)
    if _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        return None
    sent, answered = attributes(found[_TUPLE_ORIG]), attributes(found[_TUPLE_REPLY])
    ip, proto = attributes(sent[_TUPLE_IP]), attributes(sent[_TUPLE_PROTO])
    answer_ip, answer_proto = attributes(answered[_TUPLE_IP]), attributes(answered[_TUPLE_PROTO])
    if _PROTO_DST_PORT not in proto or _IP_DST[version] not in ip:
        return None
    port = int.from_bytes(proto[_PROTO_DST_PORT], "big")
    identity = attribute(_TUPLE_ORIG | _NESTED, bytes(found[_TUPLE_ORIG]))
    if _ZONE in found:
        identity += attribute(_ZONE, bytes(found[_ZONE]))
    return Flow(
        (version, proto[_PROTO_NUM][0], port),
        (bytes(ip[_IP_DST[version]]), port),
        (bytes(answer_ip[_IP_SRC[version]]), int.from_bytes(answer_proto[_PROTO_SRC_PORT], "big")),
        identity,
    )


def _lost(error: OSError) -> Retryable:
    return Retryable(f"the kernel does not tell its flows: {error}", code=error.errno or 0, reason="FlowsFailed")
