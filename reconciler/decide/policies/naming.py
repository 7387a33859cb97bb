"""PURE: what of the table names what else of it. The kernel refuses to delete a chain or a set that is still named, and
with it the whole transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from netplumb.models.kernel import KernelObject
from netplumb.models.nft import POLICY_MAPS, NftChain, NftElement, NftSet, is_of_policies
from netplumb.models.policyset import PolicySet
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.policies.lost import removals_held

_MAPS = frozenset(it.name for it in POLICY_MAPS.values())
_NAMED = re.compile(r'"target":"([^"]+)"|"@([^"]+)"')


def belongs_to_policies(thing: KernelObject) -> bool:
    """Whether network policies made it: a set, a chain, or an element of theirs."""
    return _is_of_policies(thing) or (isinstance(thing, NftElement) and is_of_policies(thing.set))


def staying(
    steps: Sequence[Step],
    observed: Callable[[], Iterable[KernelObject]],
    policies: PolicySet,
    attached: Callable[[], Collection[str]],
) -> Iterator[Step]:
    """The steps less removals of what stays of policies: of elements by which lost policies hold links that are
    `attached`, of the chains and sets that these or others that stay name, and of those links in such sets. `observed`
    is all of the table, its elements too, and is asked for where it matters."""
    if not any(step.verb is Verb.REMOVE and belongs_to_policies(step.thing) for step in steps):
        yield from steps
        return
    links = attached()
    gone = [it for step in steps if step.verb is Verb.REMOVE and isinstance(it := step.thing, NftElement)]
    held = {it.key for it in removals_held([it for it in gone if it.owner in links], policies)}
    steps = [step for step in steps if step.verb is not Verb.REMOVE or step.thing.key not in held]
    left = list(_without_named(steps, observed()))
    sets = {_name(step.thing) for step in steps if step.verb is Verb.REMOVE and isinstance(step.thing, NftSet)}
    sets -= {_name(step.thing) for step in left if step.verb is Verb.REMOVE and isinstance(step.thing, NftSet)}
    for step in left:
        it = step.thing
        if step.verb is Verb.REMOVE and isinstance(it, NftElement) and it.set in sets and it.owner in links:
            continue
        yield step


def _without_named(steps: Sequence[Step], observed: Iterable[KernelObject]) -> Iterator[Step]:
    """The steps less removals of policies' chains and sets that what stays still names."""
    removed = {step.thing.key for step in steps if step.verb is Verb.REMOVE}
    if not any(_is_of_policies(step.thing) for step in steps if step.verb is Verb.REMOVE):
        yield from steps
        return
    changed = {step.thing.key: step.thing for step in steps if step.verb is Verb.CHANGE}
    staying = [changed.get(it.key, it) for it in observed if it.key not in removed]
    chains = {step.thing.name: step.thing for step in steps if isinstance(step.thing, NftChain)}
    named: set[str] = set()
    waiting = [name for thing in staying for name in _names(thing)]
    while waiting:
        if (name := waiting.pop()) not in named:
            named.add(name)
            if name in chains:
                waiting += _names(chains[name])
    for step in steps:
        if not (step.verb is Verb.REMOVE and _is_of_policies(step.thing) and _name(step.thing) in named):
            yield step


def _is_of_policies(thing: KernelObject) -> bool:
    return isinstance(thing, NftChain | NftSet) and is_of_policies(thing.name)


def _name(thing: KernelObject) -> str:
    return thing.name if isinstance(thing, NftChain | NftSet) else ""


def _names(thing: KernelObject) -> list[str]:
    """Elements name their set and the chain that they lead to, rules what they jump to and look in. By an element that
    leads to a judgement the chains that ask for it are named, too: one without the other is none."""
    match thing:
        case NftElement() if thing.set in _MAPS:
            return [*_MAPS, str(thing.value)]
        case NftElement():
            return [thing.set, *([thing.value] if isinstance(thing.value, str) else [])]
        case NftChain():
            return [chain or set_ for rule in thing.rules for chain, set_ in _NAMED.findall(rule)]
        case _:
            return []
