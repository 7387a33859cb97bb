"""PURE: which policies select a workload, and which rules' peers it is among.

Workloads that the same policies select share one chain of the kernel, so what is asked of a workload is a combination
of policies; and rules whose selectors are the same share one set of the kernel. Both have names that follow from what
they mean, so that nothing has to be remembered.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from netplumb.models.attachment import Attachment
from netplumb.models.labelselectors import LabelSelector
from netplumb.models.networkpolicy import Direction, NetworkPolicy, Peer, PolicyKey, namespace_labels
from netplumb.models.nft import ISOLATED_ALONE, POLICY_DENIED, POLICY_MAPS
from netplumb.models.policyset import Combination, PolicySet, digest

_KEPT = 10_000
"""Answers that are kept; there are as many as workloads differ in their labels."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What policies make of a workload. `peers` are the sets of peers that it is a member of, by name; `elements` are
    all sets and maps that its link is in, each with the chain that it leads to, and `isolating` are the policies that
    select it, in words: said once for all workloads alike."""

    combinations: tuple[Combination, ...] = ()
    peers: tuple[str, ...] = ()
    elements: tuple[tuple[str, str | None], ...] = ()
    isolating: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pods:
    """One peer by selectors. `namespace` is that of the policy where namespaces are not selected."""

    namespace: str
    namespaces: LabelSelector | None
    pods: LabelSelector | None

    def words(self) -> str:
        selectors = [it.model_dump_json(by_alias=True) if it is not None else "" for it in (self.namespaces, self.pods)]
        return json.dumps([self.namespace, *selectors])

    def matches(self, namespace: str, of_namespace: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        inside = self.namespaces.matches(of_namespace) if self.namespaces is not None else namespace == self.namespace
        return inside and (self.pods is None or self.pods.matches(labels))


class Selection:
    """Answers for one set of policies."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies
        self._by_namespace: defaultdict[str, list[NetworkPolicy]] = defaultdict(list)
        self._peers: dict[str, Collection[_Pods]] = {}
        self._answers: dict[tuple[str, frozenset[tuple[str, str]]], Selected] = {}
        for policy in policies.policies:
            self._by_namespace[policy.metadata.namespace].append(policy)
            for direction in Direction:
                for rule in policy.spec.rules(direction):
                    if (name := peers_name(policy, rule.peers)) is not None:
                        self._peers[name] = tuple(_pods(policy, rule.peers))

    @property
    def peers(self) -> Collection[str]:
        """The sets of peers that there are, by name."""
        return self._peers

    def peers_in(self, combinations: Iterable[Combination]) -> frozenset[str]:
        """The sets of peers that rules of these policies look in."""
        by_key = {it.policy_key: it for it in self._policies.policies}
        return frozenset(
            name
            for combination in combinations
            for policy in (by_key[key] for key in combination.policies if key in by_key)
            for rule in policy.spec.rules(combination.direction)
            if (name := peers_name(policy, rule.peers)) is not None
        )

    def of(self, attachment: Attachment) -> Selected:
        return self.of_labels(attachment.namespace, attachment.policy_labels)

    def of_labels(self, namespace: str, labels: Mapping[str, str]) -> Selected:
        asked = (namespace, frozenset(labels.items()))
        if (known := self._answers.get(asked)) is None:
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            known = self._answers[asked] = self._selected(namespace, labels)
        return known

    def _selected(self, namespace: str, labels: Mapping[str, str]) -> Selected:
        selecting = [it for it in self._by_namespace.get(namespace, ()) if it.spec.pod_selector.matches(labels)]
        of_namespace = namespace_labels(namespace, self._policies.namespaces.get(namespace))
        found = (
            Combination(direction, tuple(it.policy_key for it in selecting if direction in it.spec.directions))
            for direction in Direction
        )
        combinations = tuple(it for it in found if it.policies)
        peers = tuple(
            name
            for name, peers in self._peers.items()
            if any(it.matches(namespace, of_namespace, labels) for it in peers)
        )
        isolating = sorted({key for it in combinations for key in it.policies})
        return Selected(combinations, peers, tuple(_elements(combinations, peers)), tuple(map(str, isolating)))


def _elements(combinations: Collection[Combination], peers: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    yield from ((name, None) for name in peers)
    for combination in combinations:
        yield POLICY_MAPS[combination.direction].name, combination.chain
        yield POLICY_DENIED[combination.direction].name, None
    if len(combinations) == 1:
        (only,) = combinations
        yield ISOLATED_ALONE[only.direction].name, None


@lru_cache(maxsize=4)
def selection(policies: PolicySet) -> Selection:
    return Selection(policies)


def peers_name(policy: NetworkPolicy, peers: Collection[Peer]) -> str | None:
    """The set of those whom a rule names by selectors; None where it names nobody so."""
    words = sorted({it.words() for it in _pods(policy, peers)})
    return f"peers_{digest(*words)}" if words else None


def policy_chain(policy: PolicyKey, direction: Direction) -> str:
    return f"{direction.lower()}_by_{digest(str(policy))}"


def _pods(policy: NetworkPolicy, peers: Collection[Peer]) -> Iterator[_Pods]:
    for peer in peers:
        if peer.ip_block is None:
            own = policy.metadata.namespace if peer.namespace_selector is None else ""
            yield _Pods(own, peer.namespace_selector, peer.pod_selector)
