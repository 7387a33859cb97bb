"""A pod's addresses between two sandboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.settings import Settings
from netplumb.reconciler.desired.state import Desired
from tests.unit.benches import POOLS, Bench, texts, wish

POD = AttachmentKey("uid-1", "eth0")


def pod(container_id: str) -> AttachmentSpec:
    return wish("uid-1", container_id=container_id, labels={"K8S_POD_UID": "uid-1"})


def stopped(desired: Desired, spec: AttachmentSpec) -> Attachment:
    """The record of an attachment that came and went."""
    made = desired.attach(spec, 7)
    desired.withdraw(spec.key)
    desired.forget(spec.key)
    return made


def test_the_next_sandbox_has_them_also_after_a_restart(bench: Bench) -> None:
    before = stopped(bench.desired, pod("c1"))
    bench.desired.attach(wish("other"), 9)
    bench.restart()
    bench.desired.attach(wish("another"), 10)
    assert texts(bench.desired.attach(pod("c2"), 8)) == texts(before)
    assert bench.stored().reserved == []


def test_another_workloads_are_free_at_once(bench: Bench) -> None:
    """Only what is known to be a pod comes again; a container's id never does."""
    stopped(bench.desired, wish("uid-1"))
    stopped(bench.desired, wish("uid-2", labels={"K8S_POD_UID": "uid-1"}))
    assert bench.stored().reserved == []


def test_what_is_over_goes_from_the_store_with_the_next(bench: Bench) -> None:
    stopped(bench.desired, pod("c1"))
    bench.desired.allocator.reservations._clock = lambda: 1e9
    stopped(bench.desired, wish("uid-2", labels={"K8S_POD_UID": "uid-2"}))
    assert {it.key.workload_id for it in bench.stored().reserved} == {"uid-2"}


@pytest.mark.parametrize(("grace_s", "reserved"), [(0.0, False), (60.0, True)])
def test_the_setting_says_how_long(tmp_path: Path, grace_s: float, reserved: bool) -> None:
    bench = Bench(tmp_path)
    bench.desired.configure(Settings.model_validate({"pools": POOLS, "pod_address_grace_s": grace_s}))
    made = stopped(bench.desired, pod("c1"))
    assert all(bench.desired.allocator.reservations.has(address) is reserved for address in made.addresses)
    bench.store.close()
