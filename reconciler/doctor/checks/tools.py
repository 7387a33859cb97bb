"""PURE: tools of the node that take netplumb's links for their own, or remove what is not theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from netplumb.models.bandwidth import NO_LIMITS
from netplumb.models.kernel import LINK_GROUP
from netplumb.models.naming import ALIAS_PREFIX, NODE_IF_PREFIX, ifb_name, is_our_name, key_of_alias, node_if_name
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, risk
from netplumb.reconciler.doctor.inifiles import last_value, sections

_LINK_OF_OURS = NODE_IF_PREFIX + "abcdefghijkl"
_MATCHES = {"Name": _LINK_OF_OURS, "OriginalName": _LINK_OF_OURS, "Type": "ether", "Kind": "veth", "Driver": "veth"}
_NETWORKD, _NETWORK_MANAGER = "systemd-network", "NetworkManager"  # as /proc has them, 15 characters
_NO_QUEUE = frozenset({"noqueue", "noop", ""})
_NO = frozenset({"no", "false", "0", "off", "n", "f"})


def networkd(facts: Facts) -> Iterator[Finding]:
    tools = facts.tools
    if _NETWORKD not in tools.running:
        return
    for name, what in (("ManageForeignRoutes", "routes"), ("ManageForeignRoutingPolicyRules", "routing rules")):
        if last_value(tools.networkd.values(), "Network", name).lower() not in _NO:
            yield risk(
                "networkd-foreign",
                f"systemd-networkd removes {what} that are not its own ({name} is not off)",
                "when it starts, or an interface is configured anew, it takes netplumb's with them; the daemon puts "
                "them back, and packets are lost meanwhile",
                "mkdir -p /etc/systemd/networkd.conf.d && printf '[Network]\\nManageForeignRoutes=no\\n"
                "ManageForeignRoutingPolicyRules=no\\n' > /etc/systemd/networkd.conf.d/netplumb.conf && "
                "systemctl restart systemd-networkd",
            )
    for path, text in tools.networks.items():
        found = sections(text)
        if _matches(dict(found.get("Match", ()))):
            if dict(found.get("Link", ())).get("Unmanaged", "no").lower() in ("yes", "true", "1", "on"):
                return
            yield risk(
                "networkd-claims",
                f"systemd-networkd takes workloads' links for its own, by {path}",
                "it gives them addresses, or takes away what they have",
                "printf '[Match]\\nName=np*\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/00-netplumb.network && "
                "networkctl reload",
            )
            return


def _matches(conditions: Mapping[str, str]) -> bool:
    """Whether a link of ours meets all. A condition that is about something else, such as a MAC, it does not meet."""
    met = (name in _MATCHES and _one_of(value, _MATCHES[name]) for name, value in conditions.items())
    return bool(conditions) and all(met)


def _one_of(patterns: str, word: str) -> bool:
    inverted = patterns.startswith("!")
    return any(fnmatchcase(word, it) for it in patterns.lstrip("!").split()) is not inverted


def network_manager(facts: Facts) -> Iterator[Finding]:
    tools = facts.tools
    if _NETWORK_MANAGER not in tools.running or tools.udev_leaves_veths:
        return
    unmanaged = last_value(tools.network_manager.values(), "keyfile", "unmanaged-devices")
    if not any(_is_ours(it.strip()) for it in unmanaged.replace(",", ";").split(";")):
        yield risk(
            "networkmanager-claims",
            "NetworkManager takes workloads' links for its own",
            "it may set them down, give them addresses, or choose them for a connection",
            "printf '[keyfile]\\nunmanaged-devices=interface-name:np*;interface-name:nq*\\n' > "
            "/etc/NetworkManager/conf.d/netplumb.conf && nmcli general reload",
        )


def _is_ours(device: str) -> bool:
    kind, _, pattern = device.removeprefix("+=").partition(":")
    word = {"interface-name": _LINK_OF_OURS, "driver": "veth", "type": "veth"}.get(kind)
    return word is not None and fnmatchcase(word, pattern.lstrip("="))


def link_files(facts: Facts) -> Iterator[Finding]:
    """The first of udev's files that matches a link is the one that counts."""
    for path, text in facts.tools.links.items():
        found = sections(text)
        if not _matches(dict(found.get("Match", ()))):
            continue
        settings = dict(found.get("Link", ()))
        changed = [name for name in ("Name", "MACAddress", "MTUBytes") if settings.get(name)]
        if changed:
            yield risk(
                "udev-renames",
                f"{path} sets {' and '.join(changed)} of workloads' links",
                "udev changes each link as it appears, and the daemon changes it back",
                f"have its [Match] leave them out: OriginalName=!{NODE_IF_PREFIX}*",
            )
        return


def renamed(facts: Facts) -> Iterator[Finding]:
    for link in facts.links:
        if link.alias.startswith(ALIAS_PREFIX) and not is_our_name(link.name):
            yield risk(
                "udev-renames",
                f"the link of {link.alias.removeprefix(ALIAS_PREFIX)} is called {link.name}",
                "somebody renamed it; the daemon calls it back, and rules by name miss it until then",
                f"see who did: udevadm test /sys/class/net/{link.name}",
            )


def queued(facts: Facts) -> Iterator[Finding]:
    """A veth has no queue; one for a limit that a workload has is netplumb's."""
    limited = {
        name
        for it in facts.attachments
        if it.spec.bandwidth != NO_LIMITS
        for name in (node_if_name(it.key), ifb_name(it.key))
    }
    for link in facts.links:
        if link.group != LINK_GROUP or link.qdisc in _NO_QUEUE or (link.qdisc == "tbf" and link.name in limited):
            continue
        yield risk(
            "foreign-queue",
            f"what {key_of_alias(link.alias) or link.name} receives goes through a queue that is not "
            f"netplumb's ({link.qdisc} on {link.name})",
            "it may hold back or drop all of it, and no firewall tells of that",
            f"if that is not meant: tc qdisc del dev {link.name} root",
        )


def programmed(facts: Facts) -> Iterator[Finding]:
    """On workloads' links alone: on an uplink they are a firewall's or a balancer's, and meant."""
    keys = {link.name: key_of_alias(link.alias) for link in facts.links if link.group == LINK_GROUP}
    for it in facts.programs:
        if it.link in keys:
            yield risk(
                "foreign-program",
                f"what {keys[it.link] or it.link} {'sends' if it.side == 'ingress' else 'receives'} meets {it}, which "
                "is not netplumb's",
                "it may drop packets or take them away, and no firewall tells of that",
                f"{it.heal} # unless that is meant",
            )


def cni_order(facts: Facts) -> Iterator[Finding]:
    """Of the networks in the folder, Kubernetes' runtimes take the first by name, and no other."""
    ours = next((name for name in facts.tools.cni if "netplumb" in name), None)
    if ours is not None and facts.tools.cni[0] != ours:
        yield risk(
            "cni-order",
            f"/etc/cni/net.d/{facts.tools.cni[0]} comes before {ours}",
            "containerd and CRI-O give pods the network that is first by name: not netplumb's",
            "remove it, or: netplumb cni uninstall && netplumb cni install with a name that comes first",
        )
