"""Traffic control objects ↔ rtnetlink messages: token buckets, the ingress qdisc, and the filter that redirects.

The layouts are those of include/uapi/linux/pkt_sched.h, pkt_cls.h and tc_act/tc_mirred.h. Filters are u32, the one
classifier that every kernel has which has any.
"""

from __future__ import annotations

from socket import htons
from struct import Struct, pack, unpack_from

from netplumb.models.tc import PREFERENCE, IngressQdisc, Redirect, Tbf
from netplumb.reconciler.kernel.netlink.wire import Buffer, Request, attribute, attributes, string, text
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

TC_H_ROOT = 0xFFFFFFFF
TC_H_INGRESS = 0xFFFFFFF1
INGRESS_HANDLE = 0xFFFF0000

_TCMSG = Struct("=BxxxiIII")  # family, index, handle, parent, info
HEADER_BYTES = _TCMSG.size
_RATESPEC = Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_MIRRED_PARMS = 2
_LINKLAYER_ETHERNET = 1  # else the kernel wants a table of 256 transmission times
_ETH_P_ALL = 0x0003
_TC_ACT_STOLEN = 4
_MIRRED_EGRESS_REDIRECT = 1
_U32_TERMINAL = 1
_RATE32_MAX = (1 << 32) - 1
_MATCH_ALL = pack("=BBBBHHhhI", _U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0) + pack("=IIii", 0, 0, 0, 0)
_MIRRED = Struct("=IIiiiiI")  # index, capab, action, refcnt, bindcnt, eaction, ifindex


def _nested(type_: int, *inner: bytes) -> bytes:
    return attribute(type_ | rt.NLA_F_NESTED, b"".join(inner))


def _qdisc(index: int, handle: int, parent: int, kind: str = "", options: bytes = b"") -> bytes:
    body = _TCMSG.pack(rt.AF_UNSPEC, index, handle, parent, 0)
    return body + text(_TCA_KIND, kind) + options if kind else body


def set_tbf(tbf: Tbf, index: int) -> list[Request]:
    """Makes the token bucket the link's root qdisc, or changes the one that is there without a packet being lost."""
    rate = min(tbf.rate, _RATE32_MAX)
    parameters = _RATESPEC.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, rate) + _RATESPEC.pack(0, 0, 0, 0, 0, 0)
    parameters += pack("=III", tbf.limit, tbf.burst & _RATE32_MAX, 0)
    options = attribute(_TCA_TBF_PARMS, parameters) + attribute(_TCA_TBF_BURST, pack("=I", tbf.burst_bytes))
    if tbf.rate > _RATE32_MAX:
        options += attribute(_TCA_TBF_RATE64, pack("=Q", tbf.rate))
    body = _qdisc(index, tbf.handle, TC_H_ROOT, "tbf", _nested(_TCA_OPTIONS, options))
    return [Request(rt.RTM_NEWQDISC, rt.NLM_F_CREATE | rt.NLM_F_REPLACE, body)]


def delete_tbf(tbf: Tbf, index: int) -> list[Request]:
    return [Request(rt.RTM_DELQDISC, 0, _qdisc(index, tbf.handle, TC_H_ROOT))]


def add_ingress(index: int) -> list[Request]:
    return [Request(rt.RTM_NEWQDISC, rt.NLM_F_CREATE, _qdisc(index, INGRESS_HANDLE, TC_H_INGRESS, "ingress"))]


def delete_ingress(index: int) -> list[Request]:
    return [Request(rt.RTM_DELQDISC, 0, _qdisc(index, INGRESS_HANDLE, TC_H_INGRESS))]


def add_redirect(index: int, to_index: int) -> list[Request]:
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _MIRRED_EGRESS_REDIRECT, to_index)
    action = text(_TCA_ACT_KIND, "mirred") + _nested(_TCA_ACT_OPTIONS, attribute(_TCA_MIRRED_PARMS, mirred))
    options = attribute(_TCA_U32_SEL, _MATCH_ALL) + _nested(_TCA_U32_ACT, _nested(1, action))
    body = _filter(index) + text(_TCA_KIND, "u32") + _nested(_TCA_OPTIONS, options)
    return [Request(rt.RTM_NEWTFILTER, rt.NLM_F_CREATE | rt.NLM_F_EXCL, body)]


def delete_redirect(index: int) -> list[Request]:
    """Removes every filter of our preference."""
    return [Request(rt.RTM_DELTFILTER, 0, _filter(index))]


def _filter(index: int) -> bytes:
    return _TCMSG.pack(rt.AF_UNSPEC, index, 0, INGRESS_HANDLE, PREFERENCE << 16 | htons(_ETH_P_ALL))


def get_qdisc(index: int, parent: int) -> Request:
    """The link's qdisc at the root or at the ingress; ENOENT when there is none. The kernel answers to all who listen,
    and to who asked only if told to echo; a dump could not be had for one link alone."""
    return Request(rt.RTM_GETQDISC, rt.NLM_F_ECHO, _qdisc(index, 0, parent))


def dump_filters(index: int, parent: int = INGRESS_HANDLE) -> bytes:
    """Without another parent those of the ingress qdisc."""
    return _TCMSG.pack(rt.AF_UNSPEC, index, 0, parent, 0)


def index_of(body: Buffer) -> int:
    """The interface that a traffic control message is about."""
    index: int = _TCMSG.unpack_from(body)[1]
    return index


def qdisc(body: Buffer, link: str) -> Tbf | IngressQdisc | None:
    """A qdisc of a kind that netplumb has a word for."""
    _, _, handle, _, _ = _TCMSG.unpack_from(body)
    found = attributes(body, _TCMSG.size)
    match string(found.get(_TCA_KIND)):
        case "ingress":
            return IngressQdisc(link)
        case "tbf" if _TCA_OPTIONS in found:
            options = attributes(found[_TCA_OPTIONS])
            parameters = options[_TCA_TBF_PARMS]
            rate = _RATESPEC.unpack_from(parameters)[5]
            if _TCA_TBF_RATE64 in options:
                (rate,) = unpack_from("=Q", options[_TCA_TBF_RATE64])
            limit, burst = unpack_from("=II", parameters, 2 * _RATESPEC.size)
            return Tbf(link, rate, burst, limit, handle=handle)
        case _:
            return None


def preference_of(body: Buffer) -> int:
    info: int = _TCMSG.unpack_from(body)[4]
    return info >> 16


def is_ours(body: Buffer) -> bool:
    """Whether a filter has our preference."""
    return preference_of(body) == PREFERENCE


def redirect(body: Buffer, link: str, names: dict[int, str]) -> Redirect | None:
    """The filter of our preference; None for any other, and for the hash tables that u32 lists beside its filters."""
    if not is_ours(body):
        return None
    info: int = _TCMSG.unpack_from(body)[4]
    found = attributes(body, _TCMSG.size)
    options = attributes(found[_TCA_OPTIONS]) if _TCA_OPTIONS in found else {}
    selector = options.get(_TCA_U32_SEL)
    if selector is None:
        return None
    if bytes(selector[16:32]) != _MATCH_ALL[16:32] or selector[2] != 1 or (info & 0xFFFF) != htons(_ETH_P_ALL):
        return Redirect(link, "")
    action = attributes(attributes(options.get(_TCA_U32_ACT, b"")).get(1, b""))
    parameters = attributes(action.get(_TCA_ACT_OPTIONS, b"")).get(_TCA_MIRRED_PARMS)
    if string(action.get(_TCA_ACT_KIND)) != "mirred" or parameters is None:
        return Redirect(link, "")
    *_, how, to_index = _MIRRED.unpack_from(parameters)
    return Redirect(link, names.get(to_index, "") if how == _MIRRED_EGRESS_REDIRECT else "")
