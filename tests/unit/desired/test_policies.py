"""Policies and namespaces as sources declare them: partitions, who holds what, and durability."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from netplumb.models.networkpolicy import NetworkPolicy
from netplumb.reconciler.desired.policies import Policies
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
        held.replace(A, [DENY, namespace("shop", stage="live")])
        held.replace(A, [DENY, namespace("shop", stage="live")])
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
        held.replace(B, [DENY])
        held.replace(A, [OTHER_DENY])
        assert of(held) == (DENY,)
    with closing(stored(tmp_path)) as store:
        again = Policies(store, store.load().policies)
        assert of(again) == (DENY,)
        assert list(again.waiting) == [(A, DENY.key, B)]
        again.replace(B, [ALLOW])
        assert of(again) == (ALLOW, OTHER_DENY)
        again.replace(A, [])
        again.replace(B, [])
    with closing(stored(tmp_path)) as store:
        assert not store.load().policies


def test_a_rehearsal_records_nothing(tmp_path: Path) -> None:
    """It tells what would be in force; where that is what is, it is the very same."""
    with closing(stored(tmp_path)) as store:
        held = Policies(store, store.load().policies)
        held.replace(A, [DENY])
        assert held.rehearsed({A: [ALLOW]}).policies == (ALLOW,)
        assert held.rehearsed({A: [DENY]}) is held.in_force
        assert of(held) == (DENY,)
