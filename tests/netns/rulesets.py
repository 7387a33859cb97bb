"""Rulesets as the tools that people run leave them, less what is not about forwarding."""

from __future__ import annotations

DOCKER = """
{ip}tables{kind} -P FORWARD DROP
{ip}tables{kind} -N DOCKER
{ip}tables{kind} -N DOCKER-USER
{ip}tables{kind} -N DOCKER-ISOLATION-STAGE-1
{ip}tables{kind} -N DOCKER-ISOLATION-STAGE-2
{ip}tables{kind} -A FORWARD -j DOCKER-USER
{ip}tables{kind} -A FORWARD -j DOCKER-ISOLATION-STAGE-1
{ip}tables{kind} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{ip}tables{kind} -A FORWARD -o docker0 -j DOCKER
{ip}tables{kind} -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
{ip}tables{kind} -A FORWARD -i docker0 -o docker0 -j ACCEPT
{ip}tables{kind} -A DOCKER ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
{ip}tables{kind} -A DOCKER ! -i docker0 -o docker0 -j DROP
{ip}tables{kind} -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
{ip}tables{kind} -A DOCKER-ISOLATION-STAGE-1 -j RETURN
{ip}tables{kind} -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
{ip}tables{kind} -A DOCKER-ISOLATION-STAGE-2 -j RETURN
{ip}tables{kind} -A DOCKER-USER -j RETURN
{ip}tables{kind} -t raw -A PREROUTING ! -i docker0 -d {docker} -j DROP
"""

UFW = """
{ip}tables{kind} -P INPUT DROP
{ip}tables{kind} -P FORWARD DROP
{ip}tables{kind} -N ufw-before-input
{ip}tables{kind} -N ufw-before-forward
{ip}tables{kind} -N ufw-user-forward
{ip}tables{kind} -N ufw-reject-forward
{ip}tables{kind} -A INPUT -j ufw-before-input
{ip}tables{kind} -A ufw-before-input -i lo -j ACCEPT
{ip}tables{kind} -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{ip}tables{kind} -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
{ip}tables{kind} -A FORWARD -j ufw-before-forward
{ip}tables{kind} -A FORWARD -j ufw-reject-forward
{ip}tables{kind} -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{ip}tables{kind} -A ufw-before-forward -p {icmp} -j ACCEPT
{ip}tables{kind} -A ufw-before-forward -j ufw-user-forward
"""

FIREWALLD = """
table inet firewalld {
  chain mangle_PREROUTING {
    type filter hook prerouting priority mangle + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
  }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24, 2002:a00::/24 } reject with icmpv6 addr-unreachable
    jump filter_FORWARD_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_ZONES {
    iifname "up0" goto filter_FWD_public
    goto filter_FWD_public
  }
  chain filter_FWD_public {
    jump filter_FWD_public_allow
    reject with icmpx admin-prohibited
  }
  chain filter_FWD_public_allow {
    oifname "up0" accept
  }
}
"""

KUBE_PROXY = """
iptables{kind} -N KUBE-FORWARD
iptables{kind} -N KUBE-FIREWALL
iptables{kind} -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
iptables{kind} -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
iptables{kind} -A KUBE-FORWARD -m comment --comment "forwarding" -m mark --mark 0x4000/0x4000 -j ACCEPT
iptables{kind} -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables{kind} -A INPUT -j KUBE-FIREWALL
iptables{kind} -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate ESTABLISHED,DNAT -j DROP
"""

LIBVIRT = """
table ip libvirt_network {
  chain forward {
    type filter hook forward priority filter; policy accept;
    jump guest_cross
    jump guest_input
    jump guest_output
  }
  chain guest_output {
    ip saddr 192.168.122.0/24 iif "lo" counter accept
    iifname "virbr0" counter reject
  }
  chain guest_input {
    oifname "virbr0" ip daddr 192.168.122.0/24 ct state established,related counter accept
    oifname "virbr0" counter reject
  }
  chain guest_cross {
    iifname "virbr0" oifname "virbr0" counter accept
  }
}
"""
