"""Routing rules as the kernel takes and tells them."""

from __future__ import annotations

import subprocess

from netplumb.models.kernel import Rule, Scope
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import dumps, encode

ADDRESS, ADDRESS_V6 = bytes((10, 9, 0, 1)), bytes.fromhex("fd09") + bytes(13) + b"\x01"
RULES = [
    Rule(Scope.NODE, 78, src=ADDRESS, src_len=32, suppress_prefix_len=0, suppress_group=28272),
    Rule(Scope.NODE, 79, src=ADDRESS, src_len=32, table=78001),
    Rule(Scope.NODE, 1078, dst=bytes((10, 9, 0, 0)), dst_len=16),
    Rule(Scope.NODE, 0, dst=ADDRESS_V6[:8] + bytes(8), dst_len=64, suppress_prefix_len=127),
    Rule(Scope.NODE, 79, src=ADDRESS_V6, src_len=128, table=78001),
]
FOREIGN = (
    "-4 rule add from 192.0.2.1 lookup 100 preference 50",
    "-4 rule add not fwmark 0xca6c lookup 51820 preference 60",
    "-4 rule add to 10.9.0.0/24 iif lo lookup main suppress_prefixlength 0 preference 70",
    "-4 rule add oif lo unreachable preference 71",
    "-4 rule add fwmark 0x80/0xf0 prohibit preference 71",
    "-4 rule add ipproto tcp dport 80 lookup 101 preference 72",
    "-4 rule add tos 0x10 ipproto udp sport 80-90 blackhole preference 73",
    "-4 rule add fwmark 0/1 uidrange 0-5 lookup main suppress_ifgroup 7 preference 74",
    "-4 rule add l3mdev preference 75",
    "-4 rule add fwmark 1 lookup 103 preference 76",
    "-4 rule add fwmark 1 lookup 104 preference 77",
    "-6 rule add from fd01::/64 to fd02::/64 lookup 102 protocol 77 preference 50",
)


def test_what_was_added_is_read_back_and_goes() -> None:
    """In the order of the kernel; of two that are alike but for their place the one that is meant goes."""
    with Channel() as channel:
        done = channel.transact([request for rule in RULES for request in encode.add_rule(rule)])
        assert [reply.words for reply in done if reply.errno] == []
        assert dumps.rules(channel, Scope.NODE) == RULES
        moved = Rule(Scope.NODE, 77, dst=RULES[2].dst, dst_len=16)
        assert not any(reply.errno for reply in channel.transact(encode.move_rule(moved, RULES[2])))
        assert dumps.rules(channel, Scope.NODE) == [moved, *RULES[:2], *RULES[3:]]
        gone = channel.transact(
            [request for rule in (moved, *RULES) if rule != RULES[2] for request in encode.delete_rule(rule)]
        )
        assert not any(reply.errno for reply in gone)
        assert dumps.rules(channel, Scope.NODE) == []


def test_rules_of_others_are_told_as_ip_shows_them() -> None:
    """With what tells whether they concern workloads."""
    for line in (*FOREIGN, "link set lo up", "-4 route add local 0.0.0.0/0 dev lo table 104"):
        subprocess.run(["ip", *line.split()], check=True)
    with Channel() as channel:
        found = [rule for rule in dumps.foreign_rules(channel) if 0 < rule.preference < 32766]
    assert [str(rule) for rule in found] == [
        "50: from 192.0.2.1/32 lookup 100",
        "60: not from all fwmark 0xca6c lookup 51820",
        "70: from all to 10.9.0.0/24 iif lo lookup 254 suppress_prefixlength 0",
        "71: from all oif lo unreachable",
        "71: from all fwmark 0x80/0xf0 prohibit",
        "72: from all ipproto tcp dport 80 lookup 101",
        "73: from all tos 0x10 ipproto udp sport 80-90 blackhole",
        "74: from all fwmark 0x0/0x1 uidrange 0-5 lookup 254 suppress_ifgroup 7",
        "75: from all l3mdev",
        "76: from all fwmark 0x1 lookup 103",
        "77: from all fwmark 0x1 lookup 104",
        "50: from fd01::/64 to fd02::/64 lookup 102",
    ]
    assert [(rule.looks_up, rule.ends, rule.inverted, rule.selects_more) for rule in found] == [
        (True, "", False, False),
        (True, "", True, True),
        (True, "", False, True),
        (False, "unreachable", False, True),
        (False, "prohibit", False, True),
        (True, "", False, True),
        (False, "blackhole", False, True),
        (True, "", False, True),
        (False, "", False, True),
        (True, "", False, True),
        (True, "", False, True),
        (True, "", False, False),
    ]
    assert [rule.preference for rule in found if rule.wants_mark] == [71, 76, 77]
    assert [rule.preference for rule in found if rule.delivers] == [77]
