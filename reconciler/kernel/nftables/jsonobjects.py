"""PURE: our table's objects ↔ libnftables' JSON (libnftables-json(5)).

Protocols are numbers in both directions, since their names depend on the host's /etc/protocols.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netplumb.models.kernel import KernelObject
from netplumb.models.nft import TABLE_SETS, VERDICT, NftChain, NftElement, NftSet, canonical_rule
from netplumb.models.steps import Step, Verb

FAMILY, TABLE = "inet", "netplumb"
Command = Mapping[str, Any]

_TABLE: Command = {"table": {"family": FAMILY, "name": TABLE}}
LIST: Command = {"list": _TABLE}
DELETE_TABLE: Sequence[Command] = ({"add": _TABLE}, {"delete": _TABLE})
"""What is not there cannot be deleted, and what is there may be added."""

_VERDICT_MAPS = frozenset(it.name for it in TABLE_SETS if it.value_type == VERDICT)
_SET_FIELDS = frozenset({"family", "name", "table", "type", "handle", "map", "elem", "stmt"})
_TELLS: Sequence[Command] = ({"counter": None}, {"limit": {"rate": 20, "burst": 20, "per": "minute"}})
"""What each element of a set that tells does, in this order: what is over the limit is counted, and meets nothing. So
who has much denied keeps nobody else's from being told."""


class UnknownObjectError(Exception):
    """The table holds what netplumb never makes."""


def objects(listed: Sequence[Mapping[str, Any]]) -> Iterator[KernelObject]:
    """What a listing of the table holds. Raises UnknownObjectError."""
    rules: dict[str, list[str]] = defaultdict(list)
    for thing in listed:
        if (rule := thing.get("rule")) is not None:
            rules[rule["chain"]].append(canonical_rule(rule["expr"], rule.get("comment")))
    for thing in listed:
        ((kind, fields),) = thing.items()
        match kind:
            case "chain":
                yield _chain(fields, rules)
            case "set" | "map":
                yield from _set(fields)
            case "metainfo" | "table" | "rule":
                pass
            case _:
                raise UnknownObjectError(kind)


def _chain(fields: Mapping[str, Any], rules: Mapping[str, Sequence[str]]) -> NftChain:
    name = fields["name"]
    hooked = (fields.get("type", ""), fields.get("hook", ""), fields.get("prio", 0), fields.get("policy", ""))
    return NftChain(name, *hooked, tuple(rules.get(name, ())))


def _set(fields: Mapping[str, Any]) -> Iterator[NftSet | NftElement]:
    if unknown := fields.keys() - _SET_FIELDS:
        raise UnknownObjectError(f"set {fields['name']} with {', '.join(sorted(unknown))}")
    name, types, value_type = fields["name"], fields["type"], fields.get("map", "")
    if not isinstance(value_type, str):
        raise UnknownObjectError(f"map {name}")
    if (does := fields.get("stmt")) not in (None, list(_TELLS)):
        raise UnknownObjectError(f"set {name} that does {does}")
    yield NftSet(name, (types,) if isinstance(types, str) else tuple(types), value_type, bool(does))
    for element in fields.get("elem", ()):
        matched, value = element if value_type else (element, None)
        owner = ""
        if isinstance(matched, dict) and "elem" in matched:
            owner, matched = matched["elem"].get("comment", ""), matched["elem"]["val"]
        if isinstance(matched, dict) and "concat" in matched:
            matched = matched["concat"]
        if value_type == VERDICT and isinstance(value, dict):
            value = value.get("goto", {}).get("target", value)
        parts = tuple(matched) if isinstance(matched, list) else (matched,)
        if not all(isinstance(part, str | int) for part in (*parts, value or 0)):
            raise UnknownObjectError(f"an element of {name}")
        yield NftElement(name, parts, value, owner)


def commands(steps: Sequence[Step], *, anew: bool = False, owned: bool = False) -> Iterator[Command]:
    """The steps as commands, in an order that does not depend on theirs; `anew` deletes the table before all. One that
    is `owned` is there, and to add it without its flags is refused.

    Rules name sets and jump from chain to chain, and so do elements of maps: the kernel refuses one whose target is not
    there yet (ENOENT), and to delete what is still named (EBUSY). So sets and chains come before rules and elements,
    and elements go before chains, all of which are emptied before any is deleted, and chains before sets. What is there
    already may be added again, so a chain that vanished since it was observed is made anew.
    """
    if anew:
        yield from DELETE_TABLE
    if not owned:
        yield {"add": _TABLE}
    sets = [(step.verb, step.thing) for step in steps if isinstance(step.thing, NftSet)]
    yield from ({"add": _declared_set(it)} for verb, it in sets if verb is not Verb.REMOVE)
    gone, added = _element_commands(steps)
    yield from gone
    yield from _chain_commands(steps)
    yield from ({"delete": _declared_set(it)} for verb, it in sets if verb is Verb.REMOVE)
    yield from added


def _chain_commands(steps: Sequence[Step]) -> Iterator[Command]:
    wanted, gone = [], []
    for step in steps:
        if isinstance(chain := step.thing, NftChain):
            if step.verb is not Verb.REMOVE:
                wanted.append(chain)
            if step.verb is Verb.REMOVE or (
                isinstance(step.observed, NftChain) and _base(step.observed) != _base(chain)
            ):
                gone.append(chain)
    kept = [chain for chain in wanted if chain not in gone]
    yield from ({"add": {"chain": _declared_chain(chain)}} for chain in kept)
    yield from ({"flush": {"chain": _name(chain.name)}} for chain in (*kept, *gone))
    yield from ({"delete": {"chain": _name(chain.name)}} for chain in gone)
    yield from ({"add": {"chain": _declared_chain(chain)}} for chain in wanted if chain in gone)
    for chain in wanted:
        for rule in chain.rules:
            yield {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain.name, **json.loads(rule)}}}


def _element_commands(steps: Sequence[Step]) -> tuple[list[Command], list[Command]]:
    """One command for all elements that go from a set, and one for all that come. An element's value can't be changed:
    it goes and comes again, which readers do not see in between."""
    gone: dict[str, list[Any]] = defaultdict(list)
    added: dict[str, list[Any]] = defaultdict(list)
    for step in steps:
        if isinstance(element := step.thing, NftElement):
            if step.verb is not Verb.ADD:
                there = step.observed if isinstance(step.observed, NftElement) else element
                gone[element.set].append(_element(there, commented=False))
            if step.verb is not Verb.REMOVE:
                added[element.set].append(_element(element, commented=True))
    return _list_commands("delete", gone), _list_commands("add", added)


def _list_commands(verb: str, by_set: Mapping[str, Sequence[Any]]) -> list[Command]:
    return [{verb: {"element": {**_name(name), "elem": elements}}} for name, elements in by_set.items()]


def _element(element: NftElement, *, commented: bool) -> Any:
    matched: Any = {"concat": list(element.match)} if len(element.match) > 1 else element.match[0]
    if commented and element.owner:
        matched = {"elem": {"val": matched, "comment": element.owner}}
    if element.value is None:
        return matched
    leads = element.set in _VERDICT_MAPS
    return [matched, {"goto": {"target": element.value}} if leads else element.value]


def _name(name: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": name}


def _declared_set(declared: NftSet) -> Command:
    types = list(declared.types) if len(declared.types) > 1 else declared.types[0]
    fields = _name(declared.name) | {"type": types} | ({"stmt": list(_TELLS)} if declared.tells else {})
    return {"map": fields | {"map": declared.value_type}} if declared.value_type else {"set": fields}


def _declared_chain(chain: NftChain) -> dict[str, Any]:
    if not chain.hook:
        return _name(chain.name)
    return _name(chain.name) | {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": chain.policy}


def _base(chain: NftChain) -> tuple[str, str, int, str]:
    return chain.type, chain.hook, chain.priority, chain.policy
