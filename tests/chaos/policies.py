"""Network policies as one more kind of wish, and what the kernel must hold of them: written down a second time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.hosts import Host

FILE = "policies.yaml"


@dataclass(frozen=True, slots=True)
class Policy:
    """Of those with a label, or of all: isolated in a direction, but for peers with a label, or for none."""

    name: str
    selects: str
    direction: str
    peers: str

    @property
    def manifest(self) -> str:
        rules, whom = ("ingress", "from") if self.direction == "Ingress" else ("egress", "to")
        spec: dict[str, Any] = {"podSelector": _labelled(self.selects), "policyTypes": [self.direction]}
        if self.peers:
            spec[rules] = [{whom: [{"podSelector": _labelled(self.peers)}], "ports": [{"port": 80}]}]
        head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": self.name}}
        return json.dumps(head | {"spec": spec}) + "\n"


def _labelled(label: str) -> dict[str, Any]:
    return {"matchLabels": {"app": label}} if label else {}


def _has(each: pb.Attachment, label: str) -> bool:
    return not label or each.labels.get("app") == label


POLICIES = (
    Policy("deny", "", "Ingress", ""),
    Policy("two-to-one", "one", "Ingress", "two"),
    Policy("one-to-one", "one", "Ingress", "one"),
    Policy("out-of-two", "two", "Egress", "one"),
)


def differences(
    node: Host, listed: Sequence[pb.Attachment], policies: Collection[Policy], told: Collection[pb.Policy]
) -> Iterator[str]:
    """What differs: who is said to be isolated, whom the maps hold, who is in the sets of peers."""
    if {it.name for it in told if it.in_force} != {it.name for it in policies}:
        yield f"policies {[it.name for it in told]}, wished for: {[it.name for it in policies]}"
        return
    for each in (it for it in listed if it.generation):  # what only waits is selected by nobody
        by = sorted(f"default/{it.name}" for it in policies if _has(each, it.selects))
        if sorted(each.policies) != by:
            yield f"{each.workload_id} is listed with the policies {each.policies}, not {by}"
    sets = dict(_sets(node))
    attached = [it for it in listed if it.phase == "Attached"]
    doubtful = {it.node_if_name for it in listed} - {it.node_if_name for it in attached}
    for direction in ("Ingress", "Egress"):
        selecting = [it for it in policies if it.direction == direction]
        wanted = {it.node_if_name for it in attached if any(_has(it, policy.selects) for policy in selecting)}
        for name in (f"policy_{direction.lower()}", f"policy_{direction.lower()}_denied"):
            if (found := sets.get(name, set()) - doubtful) != wanted:
                yield f"{name} has {sorted(found)}, wanted: {sorted(wanted)}"
    peers = sorted(sorted(found - doubtful) for name, found in sets.items() if name.startswith("peers_"))
    labels = {it.peers for it in policies if it.peers}
    wished = sorted(sorted(it.node_if_name for it in attached if _has(it, label)) for label in labels)
    if peers != wished:
        yield f"the sets of peers are {peers}, wanted: {wished}"


def _sets(node: Host) -> Iterator[tuple[str, set[str]]]:
    """Those of links, by name."""
    for thing in json.loads(node.run("nft -j list table inet netplumb"))["nftables"]:
        declared = thing.get("set") or thing.get("map") or {}
        if declared.get("type") == "ifname":
            yield declared["name"], {_link(it) for it in declared.get("elem", ())}


def _link(element: Any) -> str:
    """An element of a map has a value, and one with a comment is an object."""
    matched = element[0] if isinstance(element, list) else element
    return str(matched["elem"]["val"] if isinstance(matched, dict) else matched)
