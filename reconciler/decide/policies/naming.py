"""PURE: what of the table names what else of it. The kernel refuses to delete a chain or a set that is still named, and
with it the whole transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from netplumb.models.kernel import KernelObject
from netplumb.models.nft import NftChain, NftElement, NftSet, is_of_policies
from netplumb.models.steps import Step, Verb

_NAMED = re.compile(r'"target":"([^"]+)"|"@([^"]+)"')


def without_named(steps: Sequence[Step], observed: Iterable[KernelObject]) -> Iterator[Step]:
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
    """Elements name their set and the chain that they lead to, rules what they jump to and look in."""
    match thing:
        case NftElement():
            return [thing.set, *([thing.value] if isinstance(thing.value, str) else [])]
        case NftChain():
            return [chain or set_ for rule in thing.rules for chain, set_ in _NAMED.findall(rule)]
        case _:
            return []
