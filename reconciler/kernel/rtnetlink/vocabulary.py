"""rtnetlink's vocabulary: message types, flags, attribute numbers and fixed headers that netplumb speaks.

The numbers come from pyroute2 where it has them, so that a misread header file shows up as an import error or in the
property test, and from the kernel's headers (named beside them) where it has not.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

RTM_NEWLINK: int = rtnl.RTM_NEWLINK
RTM_DELLINK: int = rtnl.RTM_DELLINK
RTM_GETLINK: int = rtnl.RTM_GETLINK
RTM_NEWADDR: int = rtnl.RTM_NEWADDR
RTM_DELADDR: int = rtnl.RTM_DELADDR
RTM_GETADDR: int = rtnl.RTM_GETADDR
RTM_NEWROUTE: int = rtnl.RTM_NEWROUTE
RTM_DELROUTE: int = rtnl.RTM_DELROUTE
RTM_GETROUTE: int = rtnl.RTM_GETROUTE
RTM_NEWNEIGH: int = rtnl.RTM_NEWNEIGH
RTM_DELNEIGH: int = rtnl.RTM_DELNEIGH
RTM_GETNEIGH: int = rtnl.RTM_GETNEIGH
RTM_NEWRULE: int = rtnl.RTM_NEWRULE
RTM_DELRULE: int = rtnl.RTM_DELRULE
RTM_GETRULE: int = rtnl.RTM_GETRULE
RTM_NEWQDISC: int = rtnl.RTM_NEWQDISC
RTM_DELQDISC: int = rtnl.RTM_DELQDISC
RTM_GETQDISC: int = rtnl.RTM_GETQDISC
RTM_NEWTFILTER: int = rtnl.RTM_NEWTFILTER
RTM_DELTFILTER: int = rtnl.RTM_DELTFILTER
RTM_GETTFILTER: int = rtnl.RTM_GETTFILTER
RTM_NEWNETCONF: int = rtnl.RTM_NEWNETCONF
RTM_DELNETCONF = 81  # include/uapi/linux/rtnetlink.h
RTM_NEWNSID: int = rtnl.RTM_NEWNSID
RTM_DELNSID: int = rtnl.RTM_DELNSID
RTM_GETNSID: int = rtnl.RTM_GETNSID
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106  # include/uapi/linux/rtnetlink.h

NLM_F_ECHO = 0x8
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10
AF_BRIDGE = 7

IFF_UP = 0x1
IFF_NOARP = 0x80


def _numbers(message: type[Any], *names: str) -> tuple[int, ...]:
    """Attribute numbers by name out of a pyroute2 message class."""
    by_name = {entry[0]: number for number, entry in enumerate(message.nla_map)}
    return tuple(by_name[name] for name in names)


IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP = _numbers(
    ifinfmsg,
    "IFLA_ADDRESS",
    "IFLA_IFNAME",
    "IFLA_MTU",
    "IFLA_LINK",
    "IFLA_LINKINFO",
    "IFLA_IFALIAS",
    "IFLA_AF_SPEC",
    "IFLA_GROUP",
)
IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_LINK_NETNSID, IFLA_QDISC, IFLA_MASTER = _numbers(
    ifinfmsg, "IFLA_NET_NS_FD", "IFLA_EXT_MASK", "IFLA_LINK_NETNSID", "IFLA_QDISC", "IFLA_MASTER"
)
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = _numbers(ifinfmsg, "IFLA_NUM_TX_QUEUES", "IFLA_NUM_RX_QUEUES")
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
VETH_INFO_PEER = 1
# include/uapi/linux/if_link.h
IFLA_VXLAN_ID, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 1, 4, 7, 15, 17
IFLA_INET_CONF = 1
IPV4_DEVCONF_FORWARDING = 1  # enum in include/uapi/linux/ip.h, counted from 1
IPV4_DEVCONF_ARPFILTER = 13
IPV4_DEVCONF_ROUTE_LOCALNET = 26
IFLA_INET6_CONF = 2
IFLA_INET6_ADDR_GEN_MODE = 8
DEVCONF_FORWARDING = 0  # enum in include/uapi/linux/ipv6.h
DEVCONF_ACCEPT_RA = 5
DEVCONF_PROXY_NDP = 22
DEVCONF_DISABLE_IPV6 = 26
NETNSA_NSID, NETNSA_FD = 1, 3  # include/uapi/linux/net_namespace.h
RTEXT_FILTER_SKIP_STATS = 1 << 3
NLA_F_NESTED = 1 << 15

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO = _numbers(ifaddrmsg, "IFA_ADDRESS", "IFA_LOCAL", "IFA_FLAGS", "IFA_PROTO")
IFA_CACHEINFO = 6  # include/uapi/linux/if_addr.h
IFA_F_NODAD = 0x02
IFA_F_OPTIMISTIC = 0x04
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_PERMANENT = 0x80
IFA_F_NOPREFIXROUTE = 0x200

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = _numbers(
    rtmsg, "RTA_DST", "RTA_SRC", "RTA_OIF", "RTA_GATEWAY", "RTA_PRIORITY", "RTA_PREFSRC", "RTA_MULTIPATH", "RTA_TABLE"
)
RTA_METRICS, RTA_VIA = _numbers(rtmsg, "RTA_METRICS", "RTA_VIA")
RTA_NH_ID = 30
RTAX_MTU = 2
RTPROT_KERNEL, RTPROT_RA = 2, 9
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
RTNH_F_DEAD = 1
RTNH_F_ONLINK = 4
RT_TABLE_UNSPEC = 0
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RTN_UNICAST = 1
RTN_LOCAL = 2
RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW = 6, 7, 8, 9
RTM_F_CLONED = 0x200
RTM_F_FIB_MATCH = 0x2000

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK = (
    1,
    2,
    3,
    6,
    10,
    16,
)  # include/uapi/linux/fib_rules.h
FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_OIFNAME, FRA_L3MDEV, FRA_PROTOCOL = 13, 14, 15, 17, 19, 21
FRA_TUN_ID, FRA_UID_RANGE, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 12, 20, 22, 23, 24
FR_ACT_TO_TBL, FR_ACT_NOP, FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT = 1, 3, 6, 7, 8
FIB_RULE_INVERT = 0x2

NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_PROTOCOL = _numbers(ndmsg, "NDA_DST", "NDA_LLADDR", "NDA_IFINDEX", "NDA_PROTOCOL")
NUD_PERMANENT = 0x80
NTF_USE = 0x01
NTF_SELF = 0x02
NTF_PROXY = 0x08
NTF_ROUTER = 0x80

IFINFOMSG = Struct("=BxHiII")  # family, type, index, flags, change
IFADDRMSG = Struct("=BBBBI")  # family, prefix length, flags, scope, index
RTMSG = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTNEXTHOP = Struct("=HxxI")  # length, index
FIBRULE = Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
RTNEXTHOP_FLAGS = Struct("=HBxI")  # length, flags, index
NHMSG = Struct("=BBBxI")  # family, scope, protocol, flags, include/uapi/linux/nexthop.h
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6
NDMSG = Struct("=BxxxiHBB")  # family, index, state, flags, type


def family_of(ip: bytes) -> int:
    return AF_INET if len(ip) == 4 else AF_INET6
