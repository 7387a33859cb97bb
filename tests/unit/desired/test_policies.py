"""Policies and namespaces as sources declare them: partitions, who holds what, and durability."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from netplumb.models.errors import StoreUnwritable
from netplumb.models.networkpolicy import NetworkPolicy
from netplumb.reconciler.desired import policies as held_policies
from netplumb.reconciler.desired.policies import Policies, in_force
from netplumb.reconciler.desired.store import Store
from tests.unit.decide.policies.manifests import ALLOW_ALL, DENY_ALL, HEAD, namespace, policies

A, B = "file/a.yaml", "file/b.yaml"
(DENY,) = policies(DENY_ALL)
(ALLOW,) = policies(ALLOW_ALL)
(OTHER_DENY,) = policies(HEAD + "metadata: {name: default-deny-all, namespace: shop}\nspec: {podSelector: {}}\n")


def stored(path: Path) -> Store:
    return Store(path, "boot/1")


def of(held: Policies) -> tuple[NetworkPolicy, ...]:
    return held.in_force.policies


def test_what_is_declared_survives(tmp_path: Path) -> None:
    """A daemon that is started again has the same policies and namespaces in force, and told of the first change."""
    told: list[None] = []
    with closing(stored(tmp_path)) as store:
        held = Policies(store, store.load().policies, lambda: told.append(None))
        held.replace({A: [DENY, namespace("shop", stage="live")]})
        held.replace({A: [DENY, namespace("shop", stage="live")]})
        assert len(told) == 1
    with closing(stored(tmp_path)) as store:
        again = Policies(store, store.load().policies)
        assert of(again) == (DENY,)
        assert again.in_force.namespaces == {"shop": namespace("shop", stage="live")}
        assert again.sources == {A}


def test_the_first_to_declare_a_name_holds_it(tmp_path: Path) -> None:
    """The second waits, also over a restart, and takes over when the first lets go."""
    with closing(stored(tmp_path)) as store:
        held = Policies(store, store.load().policies)
        held.replace({B: [DENY]})
        held.replace({A: [OTHER_DENY]})
        assert of(held) == (DENY,)
    with closing(stored(tmp_path)) as store:
        again = Policies(store, store.load().policies)
        assert of(again) == (DENY,)
        assert list(again.waiting) == [(A, DENY.key, B)]
        again.replace({B: [ALLOW]})
        assert of(again) == (ALLOW, OTHER_DENY)
        again.replace({A: []})
        again.replace({B: []})
    with closing(stored(tmp_path)) as store:
        assert not store.load().policies


def test_a_rehearsal_records_nothing(tmp_path: Path) -> None:
    """It tells what would be in force; where that is what is, it is the very same."""
    with closing(stored(tmp_path)) as store:
        held = Policies(store, store.load().policies)
        held.replace({A: [DENY]})
        assert held.rehearsed({A: [ALLOW]}).policies == (ALLOW,)
        assert held.rehearsed({A: [DENY]}) is held.in_force
        assert of(held) == (DENY,)


def test_what_follows_from_all_policies_is_made_once_for_many_changes(tmp_path: Path) -> None:
    """Until somebody asks for it, so that a thousand files cost no thousand times a thousand."""
    with closing(stored(tmp_path)) as store, patch.object(held_policies, "in_force", wraps=in_force) as made:
        held = Policies(store, {})
        for number in range(20):
            held.replace({f"file/{number}.yaml": policies(named(str(number)))})
        assert made.call_count == 0
        assert len(of(held)) == 20
        assert held.in_force is held.in_force
        assert made.call_count == 1


def test_partitions_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    """What one source lets go another has in the same moment; where the store cannot be written, nothing changes."""
    with closing(stored(tmp_path)) as store:
        held = Policies(store, {})
        held.replace({A: [DENY]})
        before = held.in_force
        full = patch.object(store, "commit", side_effect=StoreUnwritable("the disk is full"))
        with full, pytest.raises(StoreUnwritable):
            held.replace({A: [], B: [DENY]})
        assert held.in_force is before
        held.replace({A: [], B: [DENY]})
        assert (of(held), held.holder(DENY.key), held.waiting) == ((DENY,), B, ())
        assert held.sources == {B}
        assert held.says(B, [DENY], ())
        assert not held.says(B, [DENY], [DENY.key])


def test_it_is_known_since_when_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what it says meanwhile changes that, nor what others say; one that holds it, or left, waits no more."""
    now = [100.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    with closing(stored(tmp_path)) as store:
        held = Policies(store, {})
        held.replace({A: [DENY]})
        held.replace({B: [DENY]})
        now[0] = 200.0
        held.replace({A: [OTHER_DENY], B: [OTHER_DENY]})
        held.replace({"applied": [ALLOW]})
        assert (held.waits_since(B, DENY.key), held.waits_since(A, DENY.key)) == (100.0, 0.0)
        held.replace({A: []})
        assert held.waits_since(B, DENY.key) == 0.0
        held.replace({A: [DENY]})
        assert (held.waits_since(B, DENY.key), held.waits_since(A, DENY.key)) == (0.0, 200.0)
    with closing(stored(tmp_path)) as store:
        now[0] = 300.0
        again = Policies(store, store.load().policies)
        assert again.waits_since(A, DENY.key) == 300.0
        again.replace({A: []})
        assert again.waits_since(A, DENY.key) == 0.0


def named(name: str) -> str:
    return HEAD + f"metadata: {{name: n{name}, namespace: shop}}\nspec: {{podSelector: {{}}}}\n"
