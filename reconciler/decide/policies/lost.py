"""PURE: network policies that the kernel still enforces though the store that knew them is lost.

What they said cannot be read back from their rules. But it can be read which chains judge by them, so that whom they
isolated stays isolated by these, whole, until somebody says the policies again or lets them go: nothing opens because a
file was lost. Of a workload whose labels nobody has said again all stays, whatever becomes of the policies.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import KernelObject
from netplumb.models.naming import node_if_name
from netplumb.models.networkpolicy import Direction, PolicyKey
from netplumb.models.nft import ISOLATED_ALONE, POLICY_DENIED, POLICY_MAPS, NftChain, NftElement, is_of_policies
from netplumb.models.policyset import Combination, PolicySet, direction_of
from netplumb.models.steps import Step
from netplumb.reconciler.decide.policies.selection import policy_chain, selection

Lost = Mapping[str, Mapping[str, str]]
"""The chains that judged workloads when the store was lost, each with the chains of those of its policies that nobody
has said since, and what these are called."""

_MAPS = {it.name: direction for direction, it in POLICY_MAPS.items()}


def found_in(table: Iterable[KernelObject], elements: Iterable[NftElement]) -> Lost:
    """What the table tells of policies that isolate somebody."""
    judging = {it.value for it in elements if it.set in _MAPS}
    chains = [it for it in table if isinstance(it, NftChain) and it.name in judging and direction_of(it.name)]
    return {chain.name: dict(_policies_of(chain)) for chain in chains}


def _policies_of(chain: NftChain) -> Iterator[tuple[str, str]]:
    for text in chain.rules:
        rule = json.loads(text)
        for expression in rule["expr"]:
            target = expression["jump"]["target"] if "jump" in expression else ""
            if "_by_" in target:
                yield target, rule.get("comment", "one whose name is not known")


def less(lost: Lost, said: Iterable[PolicyKey]) -> Lost:
    """Without the policies that somebody says again, or lets go."""
    chains = {policy_chain(key, direction) for key in said for direction in Direction} if lost else set()
    left = {judging: {it: name for it, name in by.items() if it not in chains} for judging, by in lost.items()}
    return {judging: by for judging, by in left.items() if by}


def has(lost: Lost, key: PolicyKey) -> bool:
    return less(lost, [key]) != lost


def names(lost: Lost) -> list[str]:
    return sorted({name for by in lost.values() for name in by.values()})


def held_directions(
    record: Attachment, policies: PolicySet, element: Mapping[Direction, NftElement | None]
) -> frozenset[Direction]:
    """In which directions the workload is isolated by what nobody knows; `element` is what leads to its judgement."""
    return frozenset(
        direction
        for direction, it in element.items()
        if it is not None and (record.is_rebuilt or it.value in policies.held)
    )


def kept_of(
    record: Attachment, policies: PolicySet, wanted: Iterable[NftElement], there: Iterable[KernelObject]
) -> list[NftElement]:
    """The elements of an attachment that stay though nothing that is known wants them. Sets of peers that no policy has
    any more are the node's to remove, as long as nothing looks in them no sooner than the rest."""
    keys = {it.key for it in wanted}
    own = [it for it in there if isinstance(it, NftElement) and it.key not in keys and is_of_policies(it.set)]
    if record.is_rebuilt or not own:
        return own
    link, peers = node_if_name(record.key), selection(policies).peers
    held = {_MAPS[it.set] for it in own if it.set in _MAPS and it.value in policies.held}
    return [it for it in own if _stays(it, link, held) or (it.set.startswith("peers_") and it.set not in peers)]


def removals_held(gone: Collection[NftElement], policies: PolicySet) -> list[NftElement]:
    """Which of the elements that nobody wants any more stay with links that lost policies isolate."""
    links = {(it.owner, _MAPS[it.set]) for it in gone if it.set in _MAPS and it.value in policies.held}
    held = {link: {direction for owner, direction in links if owner == link} for link, _ in links}
    return [it for it in gone if it.owner in held and _stays(it, it.owner, held[it.owner])]


def let_go_of(steps: Iterable[Step], combinations: frozenset[Combination]) -> bool:
    """Whether what judged a workload by policies that nobody knows does so no more, and may be removed."""
    led = [it for step in steps if isinstance(it := step.observed or step.thing, NftElement) and it.set in _MAPS]
    return bool(led) and not {it.value for it in led} <= _chains(combinations)


@lru_cache(maxsize=4)
def _chains(combinations: frozenset[Combination]) -> frozenset[str]:
    """Asked for with each pass that changes an element."""
    return frozenset(it.chain for it in combinations)


def _stays(element: NftElement, link: str, held: Collection[Direction]) -> bool:
    sets = {it for d in held for it in (POLICY_MAPS[d].name, POLICY_DENIED[d].name, ISOLATED_ALONE[d].name)}
    return element.match == (link,) and element.set in sets
