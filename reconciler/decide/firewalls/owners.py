"""Whose a chain is, by the names that tools give their tables and chains."""

from __future__ import annotations

from netplumb.reconciler.decide.firewalls.ruleset import ChainId

_BY_TABLE = {"firewalld": "firewalld", "netavark": "Podman", "kube-proxy": "kube-proxy"}
_BY_CHAIN = (
    ("DOCKER", "Docker"),
    ("ufw", "ufw"),
    ("KUBE-", "Kubernetes"),
    ("cali-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("FLANNEL-", "flannel"),
    ("NETAVARK", "Podman"),
    ("CNI-", "a CNI plugin"),
    ("LIBVIRT_", "libvirt"),
    ("f2b-", "fail2ban"),
)


def whose(chain: ChainId, chains: set[ChainId], rule_chain: str = "") -> str:
    """The tool that made the chain, or the table that it is in; empty where that cannot be told. `chains` are all that
    are known, and `rule_chain` is where the rule in question stands."""
    for table, owner in _BY_TABLE.items():
        if chain.table.startswith(table):
            return owner
    names = [rule_chain] if rule_chain not in ("", chain.name) else []
    beside = sorted(it.name for it in chains if it.family == chain.family and it.table == chain.table)
    for name in (*names, chain.name, *beside):
        for prefix, owner in _BY_CHAIN:
            if name.startswith(prefix):
                return owner
    return ""
