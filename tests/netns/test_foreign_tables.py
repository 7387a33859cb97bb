"""What real rulesets in the kernel drop of ours, read and weighed; tools' own layouts among them."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.models.network import Pool
from netplumb.models.ports import PortMapping, Protocol
from netplumb.models.status import Condition
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours
from netplumb.reconciler.decide.firewalls.weigh import weigh
from netplumb.reconciler.decide.firewalls.words import conditions, rule_words
from netplumb.reconciler.kernel.firewalls import foreigntables, iptables
from tests.netns import rulesets

SPEC = AttachmentSpec(
    workload_id="web",
    netns=NetnsRef(path="/run/netns/web"),
    port_mappings=(
        PortMapping(host_port=8080, container_port=80),
        PortMapping(host_port=5300, container_port=53, protocol=Protocol.UDP),
    ),
)
WEB = Attachment(
    spec=SPEC,
    source="rpc",
    mac=workload_mac(SPEC.key),
    addresses=(ip_address("10.213.0.10"), ip_address("fd13::10")),
)
LINK = node_if_name(WEB.key)
OURS = Ours(
    pools=(Pool(cidr=ip_network("10.213.0.0/24")), Pool(cidr=ip_network("fd13::/64"))),
    attachments=(WEB,),
    uplinks=frozenset({"up0"}),
    node_addresses=frozenset(ip_address(it) for it in ("192.0.2.1", "2001:db8::1", "10.213.0.1", "fd13::1")),
)


def run(script: str) -> None:
    """Each line is a command."""
    for line in filter(None, map(str.strip, script.splitlines())):
        subprocess.run(["sh", "-c", line], check=True, capture_output=True)


def nft(script: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def told(ours: Ours = OURS) -> dict[str, Condition]:
    nftables = foreigntables.read()
    listed, unread = iptables.read()
    ruleset = Ruleset.of([*nftables.listed, *listed])
    drops, unweighed = weigh(ruleset, ours)
    return {it.type: it for it in conditions(drops, ruleset, [*nftables.unread, *unread, *unweighed])}


def verdict() -> str:
    found = told()
    assert "not looked at" not in found["ForwardBlocked"].message
    return "drops" if found["ForwardBlocked"].status else "may" if "ForwardFiltered" in found else ""


SETS = "set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 203.0.113.7 }; }"

RULES = {
    # Unconditionally, by protocol, by state
    "drop": "drops",
    "counter reject": "drops",
    "meta l4proto tcp drop": "drops",
    "ip protocol udp drop": "drops",
    "meta l4proto gre drop": "",
    "icmp type echo-request drop": "drops",
    "icmpv6 type nd-redirect drop": "",
    "icmpv6 type packet-too-big drop": "drops",
    "icmp type { redirect, timestamp-request } drop": "",
    'iifname "np*" accept; ct state established accept; ct status dnat accept; drop': "drops",
    "ct state invalid drop": "",
    "ct state new drop": "drops",
    "ct state != established,related drop": "drops",
    "ct state vmap { invalid : drop, established : accept, related : accept }": "",
    "ct state vmap { invalid : drop, new : drop }": "drops",
    "tcp flags & (fin|syn) == (fin|syn) drop": "",
    "tcp flags & (fin|syn|rst|psh|ack|urg) == 0x0 drop": "",
    "tcp flags & (fin|syn|rst|ack) != syn ct state new drop": "",
    "tcp flags rst drop": "may",
    "meta nfproto ipv6 drop": "drops",
    "meta pkttype { broadcast, multicast } drop": "",
    "fib saddr . iif oif missing drop": "",
    "fib daddr type local drop": "",
    # By our interfaces
    'iifname "np*" drop': "drops",
    'oifname "np*" ct state new drop': "drops",
    'iifname "n*" drop': "drops",
    f'iifname "{LINK}" drop': "drops",
    'iifname "np0" drop': "",
    "iifgroup 28272 drop": "drops",
    "iifgroup 28000-29000 drop": "drops",
    "iifgroup { 5, 28000-29000 } drop": "drops",
    "iifgroup 28273-28300 drop": "may",
    "iifgroup 7 oifgroup 28272 drop": "may",
    "oifgroup 28273 iifgroup 28272 drop": "may",
    'iifname != "up0" drop': "drops",
    'iifname { "eth5", "np*" } oifname "up0" drop': "drops",
    'iifname . oifname { "np*" . "up0" } drop': "drops",
    'iifname . ip saddr { "np*" . 10.213.0.0/16 } drop': "drops",
    'iifname . ip saddr { "np*" . 10.214.0.0/16 } drop': "",
    'iifname "docker0" oifname != "docker0" drop': "",
    'iifname "docker0" oifname "np*" drop': "may",
    'iifname "eth5" tcp dport 22 drop': "",
    'iifname "up0" tcp dport 22 drop': "",
    'iif "lo" drop': "",
    # By addresses
    "ip saddr 10.213.0.0/24 drop": "drops",
    "ip saddr 10.0.0.0/8 drop": "drops",
    "ip daddr 10.213.0.10 drop": "drops",
    "ip daddr 10.213.0.99 drop": "may",
    "ip daddr { 10.213.0.0/25, 10.213.0.128/25 } drop": "drops",
    "ip6 saddr fd00::/8 drop": "drops",
    "ip daddr 192.168.0.0/16 drop": "",
    "ip daddr != 192.168.0.0/16 drop": "drops",
    "ip saddr != 10.213.0.0/24 ip daddr != 10.213.0.0/24 drop": "",
    "ip saddr @blocked drop": "",
    'iifname "np*" ip daddr @blocked drop': "may",
    'iifname "np*" ip daddr 169.254.169.254 drop': "may",
    "ip daddr 0.0.0.0/0 drop": "drops",
    "ip daddr 192.0.2.1 drop": "",
    # By ports
    "tcp dport 80 drop": "drops",
    "tcp dport { 80, 443 } drop": "drops",
    "udp dport 53 drop": "drops",
    'iifname "up0" tcp dport 80 drop': "drops",
    'iifname "up0" tcp dport 8080 drop': "",
    "tcp dport 25 drop": "may",
    "tcp dport != 443 drop": "drops",
    "tcp dport >= 1024 drop": "drops",
    "tcp dport 1-1023 drop": "drops",
    "tcp dport 1000-2000 drop": "may",
    "tcp sport 443 drop": "may",
    "tcp dport 79-81 drop": "drops",
    "tcp sport 5 tcp dport 80 drop": "",
    "tcp dport . ip daddr { 80 . 10.213.0.0/24 } drop": "drops",
    "ip saddr 10.213.0.10 ip daddr 198.51.100.1 drop": "may",
    "ip daddr 10.213.0.9-10.213.0.12 drop": "drops",
    "ip daddr >= 10.213.0.9 drop": "may",
    "ip saddr & 0.0.0.255 == 10 drop": "may",
    "meta mark @marks drop": "may",
    "iifname @empty drop": "",
    "ip saddr vmap { 10.213.0.0/24 : drop, * : accept }": "drops",
    'iifname vmap { "docker0" : accept, * : drop }': "may",
    'meta iifkind "veth" drop': "may",
    "th dport 0-65535 drop": "drops",
    "sctp dport 80 drop": "",
    # What cannot be judged
    "limit rate over 100/second drop": "may",
    "ct count over 100 drop": "may",
    "meta mark 0x17 drop": "may",
    'meta mark 0x17 iifname "docker0" drop': "",
    "update @seen { ip saddr limit rate over 1/second } drop": "may",
    "ip dscp 1 drop": "may",
    "ip saddr @seen drop": "may",
    "ip saddr != @seen drop": "may",
    "ip saddr 10.213.0.10 ip daddr @seen drop": "may",
    "ip6 daddr @seen6 drop": "drops",
    # What was accepted before
    "accept; drop": "",
    'iifname "np*" accept; oifname "np*" accept; drop': "",
    'iifname "np*" accept; ct state established,related accept; drop': "drops",
    'iifname "np*" accept; ct state established,related accept; ct status dnat accept; drop': "",
    'iifname "np*" accept; ct state established,related accept; ip daddr 10.213.0.0/24 accept;'
    " ip6 daddr fd13::/64 accept; drop": "",
    'iifname "np*" accept; ct state established,related accept; tcp dport 80 accept; udp dport 53 accept; drop': "",
    'iifname "np*" accept; ct state established,related accept; tcp dport 80 accept; drop': "drops",
    "meta mark 0x17 accept; drop": "may",
    "tcp dport 443 accept; drop": "drops",
    # Jumps
    "jump dropping": "drops",
    "goto dropping": "drops",
    'iifname "np*" jump dropping': "drops",
    'iifname "docker0" jump dropping': "",
    "jump returning; drop": "drops",
    "goto returning; drop": "",
    "jump accepting; drop": "",
    'iifname vmap { "np*" : jump dropping, "docker0" : accept }': "drops",
    "iifname vmap @by_link": "drops",
    "tcp dport vmap { 80 : goto dropping }": "drops",
    "meta mark vmap { 1 : jump dropping }": "may",
}


@pytest.mark.parametrize(("rules", "expected"), RULES.items(), ids=RULES)
def test_a_rule_is_weighed(rules: str, expected: str) -> None:
    """Certain drops of ours, possible ones, and what is somebody else's business."""
    body = rules.replace("; ", "\n")
    nft(
        f"""table inet theirs {{
        {SETS}
        set marks {{ type mark; flags interval; elements = {{ 1-5, 9 }}
        }}
        set empty {{ type ifname; }}
        set seen {{ type ipv4_addr; size 128; flags dynamic; }}
        set seen6 {{ type ipv6_addr; size 128; flags dynamic; elements = {{ fd13::10 }}
        }}
        map by_link {{ type ifname : verdict; flags interval; elements = {{ "np*" : jump dropping, "a" : accept }}; }}
        chain dropping {{ counter drop; }}
        chain returning {{ ct state new return; return; }}
        chain accepting {{ iifname "np*" accept; accept; }}
        chain forwarding {{ type filter hook forward priority 0; policy accept;
        {body}
        }}
        }}"""
    )
    assert verdict() == expected


HOOKS = {
    "inet prerouting raw": ("drops", "type filter hook prerouting priority raw;", 'iifname "np*" drop'),
    "before conntrack all is invalid": ("drops", "type filter hook prerouting priority raw;", "ct state invalid drop"),
    "a port of the node": ("drops", "type filter hook prerouting priority -150;", "tcp dport 8080 drop"),
    "a port of the node, translated": ("may", "type filter hook prerouting priority -90;", "tcp dport 8080 drop"),
    "an address of the node": ("drops", "type filter hook prerouting priority -150;", "ip daddr 192.0.2.1 drop"),
    "input of all": ("", "type filter hook input priority 0; policy drop;", "ct state established accept"),
    "input of answers": ("drops", "type filter hook input priority 0; policy drop;", "tcp dport 22 accept"),
    "input by our links": ("drops", "type filter hook input priority 0;", 'iifname "np*" ct state new drop'),
    "output": ("drops", "type filter hook output priority 0; policy drop;", 'oifname "lo" accept'),
    "output to others": ("", "type filter hook output priority 0;", 'oifname "up0" drop'),
    "postrouting": ("drops", "type filter hook postrouting priority 0;", 'oifname "up0" ip saddr 10.213.0.10 drop'),
    "postrouting of an answer": (
        "drops",
        "type filter hook postrouting priority 0;",
        'oifname "up0" tcp sport 80 drop',
    ),
    "as it was translated back": (
        "drops",
        "type filter hook postrouting priority 300;",
        'oifname "up0" ip saddr 192.0.2.1 tcp sport 8080 drop',
    ),
    "not as it was before": (
        "",
        "type filter hook postrouting priority 300;",
        'oifname "up0" ip saddr 10.213.0.10 drop',
    ),
    "a proxy": (
        "may",
        "type filter hook prerouting priority mangle;",
        'iifname "np*" meta l4proto tcp tproxy to :5000 meta mark set 1 accept',
    ),
    "a proxy of others": (
        "",
        "type filter hook prerouting priority mangle;",
        'iifname "br0" meta l4proto tcp tproxy to :5000',
    ),
    "nat": ("drops", "type nat hook prerouting priority -110;", "tcp dport 8080 drop"),
}


@pytest.mark.parametrize(("expected", "chain", "rules"), HOOKS.values(), ids=HOOKS)
def test_each_hook_sees_its_own(expected: str, chain: str, rules: str) -> None:
    """Before translation a mapped port is the node's, in forward the workload's; the node's own firewall is its
    administrator's business unless it names us."""
    nft(f"table inet theirs {{ chain c {{ {chain}\n{rules}\n }}\n }}")
    assert verdict() == expected


def test_iptables_proxy_is_weighed() -> None:
    """It drops what nobody listens for."""
    run("iptables -t mangle -A PREROUTING -i np+ -p tcp -j TPROXY --on-port 5000 --tproxy-mark 1")
    assert verdict() == "may"


def test_what_is_sent_out_elsewhere_or_leaves_by_a_device_is_weighed() -> None:
    """An ingress chain that forwards by itself, and an egress chain, which sees what was translated back."""
    run("ip link add up0 type veth peer name eth5")
    for hook, rule in (
        ("ingress", "udp dport 5300 fwd to eth5"),
        ("egress", "ip saddr 192.0.2.1 udp sport 5300 drop"),
        ("egress", "udp sport 53 drop"),
    ):
        nft(f"table netdev theirs {{ chain c {{ type filter hook {hook} device up0 priority 0;\n{rule}\n }}\n }}")
        assert verdict() == ("" if rule.startswith("udp sport 53 ") else "drops")
        nft("delete table netdev theirs")


def test_what_hangs_on_interfaces_is_weighed_by_them() -> None:
    """An ingress chain sees what comes in by its devices."""
    run("ip link add up0 type veth peer name eth5")
    for device, expected in (("eth5", ""), ("up0", "drops")):
        chain = f"chain c {{ type filter hook ingress devices = {{ {device} }} priority 0; policy drop; }}"
        nft(f"table netdev theirs\ndelete table netdev theirs\ntable netdev theirs {{ {chain}\n }}")
        assert verdict() == expected


def test_a_table_of_our_name_in_another_family_is_not_ours() -> None:
    """Whoever made it, it drops as any other."""
    nft("table ip netplumb { chain c { type filter hook forward priority 0; policy drop; }; }")
    assert verdict() == "drops"


@pytest.mark.parametrize(
    "script",
    [
        "table bridge theirs { chain c { type filter hook forward priority 0; policy drop; }; }",
        "table arp theirs { chain c { type filter hook input priority 0; policy drop; }; }",
        "table inet theirs { flags dormant; chain c { type filter hook forward priority 0; policy drop; }; }",
        "table inet netplumb { chain c { type filter hook forward priority 0; policy drop; }; }",
        "table inet theirs { chain c { drop; }; }",
        rulesets.LIBVIRT,
    ],
    ids=["bridge", "arp", "dormant", "our own", "no hook", "libvirt"],
)
def test_what_does_not_concern_us_is_not_told(script: str) -> None:
    """Tables that no packet of ours meets, or that drop only others'."""
    nft(script)
    assert verdict() == ""


FAMILIES = {
    "ip": {"docker": "172.17.0.2", "icmp": "icmp"},
    "ip6": {"docker": "fd00:d::2", "icmp": "icmpv6"},
}


@pytest.mark.parametrize("kind", ["-nft", "-legacy"])
@pytest.mark.parametrize("ip", FAMILIES)
def test_docker(ip: str, kind: str) -> None:
    """Its policy is in the way, what it drops of its own is not, and its own chain for others lets ours pass."""
    run(rulesets.DOCKER.format(ip=ip, kind=kind, **FAMILIES[ip]))
    found = told()
    command = f"{ip}tables{'-legacy' if kind == '-legacy' else ''}"
    assert f"chain {ip} filter FORWARD" in found["ForwardBlocked"].message
    assert "(policy drop)" in found["ForwardBlocked"].message
    assert f"{command} -I DOCKER-USER -i np+ -j ACCEPT" in found["ForwardBlocked"].message
    assert "ForwardFiltered" not in found
    run(found["ForwardBlocked"].message.partition("let it pass: ")[2])
    assert verdict() == ""


@pytest.mark.parametrize("kind", ["-nft", "-legacy"])
@pytest.mark.parametrize("ip", FAMILIES)
def test_ufw(ip: str, kind: str) -> None:
    """A closed forward chain is told, a closed input chain is the administrator's."""
    run(rulesets.UFW.format(ip=ip, kind=kind, **FAMILIES[ip]))
    found = told()["ForwardBlocked"]
    assert found.status
    assert "INPUT" not in found.message
    run(found.message.partition("let it pass: ")[2])
    assert verdict() == ""


def test_firewalld() -> None:
    """Both of its rejects are one ruleset's, and its own way out lets ours pass."""
    nft(rulesets.FIREWALLD)
    found = told()["ForwardBlocked"]
    assert "chain inet firewalld filter_FORWARD (rule handle" in found.message
    run(found.message.partition("let it pass: ")[2])
    assert verdict() == ""


@pytest.mark.parametrize("kind", ["-nft", "-legacy"])
def test_kube_proxy(kind: str) -> None:
    """Nothing of it is in the way."""
    run(rulesets.KUBE_PROXY.format(kind=kind))
    assert verdict() == ""


WORDS = [
    "ip saddr @blocked drop",
    "iifname { a, np* } drop",
    "iifname vmap { np* : goto other }",
    "iifname . ip saddr { np* . 10.0.0.0/8 } drop",
    "iif lo drop",
    "fib saddr . iif oif missing drop",
    "tcp dport { 22, 80-90 } reject",
    "udp dport 53-60 drop",
    "ct state ! established,related drop",
    "ct status dnat accept",
    "ip6 daddr != fe80::/10 drop",
    "ip daddr 10.0.0.1-10.0.0.9 drop",
    "tcp sport 1 tcp dport 2 drop",
]


def test_rules_are_told_as_they_were_written() -> None:
    """What is read from the kernel reads as nft's own words."""
    body = "\n".join(rule.replace("np*", '"np*"') for rule in WORDS)
    nft(f"table inet t {{ {SETS}\nchain other {{ }}\nchain c {{ type filter hook forward priority 0;\n{body}\n }}\n }}")
    chains = Ruleset.of(foreigntables.read().listed).chains.values()
    assert [rule_words(rule) for chain in chains for rule in chain.rules] == WORDS


def test_names_of_any_bytes_do_no_harm() -> None:
    """A name that is not UTF-8 is read, and told as text; libnftables would end the process over it."""
    script = (
        b'table inet t { chain c { type filter hook forward priority 0; iifname "a\xff" drop; oifname "np*" drop; }\n }'
    )
    subprocess.run(["nft", "-f", "-"], input=script, check=True)
    assert told()["ForwardBlocked"].status


def test_looking_makes_no_legacy_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel would make each table that it is asked for. One that cannot be read is named."""
    assert iptables.read() == ([], [])
    names = [Path("/proc/thread-self/net", name) for name in ("ip_tables_names", "ip6_tables_names")]
    assert [name.read_text() for name in names] == ["", ""]
    run("iptables-legacy -P FORWARD DROP")
    monkeypatch.setattr(iptables, "MOST_BYTES", 100)
    (unread,) = iptables.read()[1]
    assert "iptables-legacy's table ip filter (" in unread
    monkeypatch.setattr(iptables, "_NAMES", tmp_path)
    assert iptables.read() == ([], [])
    (tmp_path / "ip_tables_names").mkdir()
    assert told()["ForwardBlocked"].reason == "NotAllLookedAt"


def test_a_set_that_is_too_large_is_not_read() -> None:
    """What a rule means by it cannot be judged."""
    elements = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(30_000))
    rule = "ip daddr 203.0.113.7 ip saddr @s drop"
    nft(f"table inet t {{ set s {{ type ipv4_addr; elements = {{ {elements} }}\n }}\n }}")
    nft("table inet t { chain c { type filter hook forward priority 0; ip saddr @s drop; }\n }")
    assert verdict() == "may"
    nft(f"add chain inet t c; flush chain inet t c; add rule inet t c {rule}")
    assert verdict() == ""


def test_many_chains_are_not_followed() -> None:
    """Nor many rules: the table is named, and others are weighed."""
    chains = "".join(f"chain c{n} {{ }}\n" for n in range(400))
    jumps = "\n".join(f"jump c{n}" for n in range(400))
    nft(f"table inet t {{ {chains} chain c {{ type filter hook forward priority 0;\n{jumps}\n }}\n }}")
    nft("table ip u { chain c { type filter hook forward priority 0; policy drop; }\n }")
    found = told()["ForwardBlocked"]
    assert "chain ip u c (policy drop)" in found.message
    assert "not looked at: table inet t" in found.message
