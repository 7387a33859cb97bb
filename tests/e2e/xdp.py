"""An XDP program that drops all that comes in by a link, put there as another program's: by bpf(2), which Python has no
call for."""

from __future__ import annotations

import ctypes
import os
import platform
from struct import pack

from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request, attribute
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.e2e.hosts import Host

_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _TYPE_XDP = 5, 6  # include/uapi/linux/bpf.h
_DROP = 1
_XDP, _FD, _FLAGS, _GENERIC = 43, 1, 3, 2  # IFLA_XDP, XDP_FLAGS_SKB_MODE, include/uapi/linux/if_link.h
_ATTRIBUTES_BYTES = 144


def drop_all(host: Host, link: str) -> None:
    code = ctypes.create_string_buffer(pack("=BBhi", 0xB7, 0, 0, _DROP) + pack("=BBhi", 0x95, 0, 0, 0))
    licensed = ctypes.create_string_buffer(b"GPL")
    attributes = pack("=IIQQ", _TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(licensed))
    told = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    program = libc.syscall(_BPF[platform.machine()], _PROG_LOAD, told, _ATTRIBUTES_BYTES)
    if program < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    try:
        put = attribute(_FD, pack("=i", program)) + attribute(_FLAGS, pack("=I", _GENERIC))
        body = rt.IFINFOMSG.pack(rt.AF_UNSPEC, 0, host.link(link)["ifindex"], 0, 0)
        with host.enter(), Channel() as channel:
            (reply,) = channel.transact([Request(rt.RTM_NEWLINK, 0, body + attribute(_XDP | rt.NLA_F_NESTED, put))])
        assert not reply.errno, reply
    finally:
        os.close(program)
