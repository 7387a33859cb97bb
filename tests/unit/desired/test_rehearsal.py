"""A rehearsal of what state files would change: as it comes out when they do, and nothing of it is recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.errors import AlreadyHeld
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.rehearsal import Rehearsed, rehearse
from tests.unit.benches import DB, WEB, Bench, declare, texts, wish

Files = Mapping[str, Sequence[AttachmentSpec]]

WISHES = st.builds(
    wish,
    st.sampled_from(["web", "db", "job"]),
    if_name=st.sampled_from(["eth0", "eth1"]),
    addresses=st.sampled_from([[], ["10.0.0.5"], ["10.0.0.6"], ["fd00::9"]]),
    port_mappings=st.sampled_from([[], ["80:80"], ["80:81"], ["81:80/udp"]]),
)
PARTITIONS = st.lists(WISHES, max_size=4, unique_by=lambda spec: spec.key)
FILES = st.dictionaries(st.sampled_from(["file/a", "file/b", "file/c"]), PARTITIONS, max_size=3)

# Which of the two is named where a third wants the port must not depend on who came first.
SHARED_BY_INTERFACES: list[Files] = [
    {"file/a": [wish("db")]},
    {"file/b": [wish("db", if_name=it, port_mappings=["80:80"]) for it in ("eth0", "eth1")], "file/a": []},
]


def rehearsed(bench: Bench, files: Files) -> Rehearsed:
    return rehearse(bench.desired.scene(), files, lambda *_: None)


def settle(bench: Bench) -> None:
    """The kernel lets go of what goes, and claims have what they waited for."""
    for key in [key for key, it in bench.desired.attachments.items() if it.removing]:
        bench.desired.forget(key)
    deque(Declarations(bench.desired).settling(), maxlen=0)


def waiting(bench: Bench) -> set[tuple[str, str, str]]:
    return {(source, str(spec.key), str(error)) for source, spec, error in bench.desired.claims.waiting()}


def test_a_new_file_is_given_what_it_would_be_given(bench: Bench) -> None:
    """Addresses from the pools, where the walk stands; and only then is anything recorded."""
    declare(bench.desired, "file/a", [wish()])
    found = rehearsed(bench, {"file/b": [wish("db")]})
    assert bench.desired.attachments.keys() == {WEB}
    assert bench.stored().claims.keys() == {"file/a"}
    declare(bench.desired, "file/b", [wish("db")])
    assert found.changed == [bench.desired.attachments[DB]]
    assert not found.waiting


def test_the_same_file_again_changes_nothing(bench: Bench) -> None:
    declare(bench.desired, "file/a", [wish(), wish("db")])
    assert rehearsed(bench, {"file/a": [wish(), wish("db")]}) == Rehearsed([], [])


def test_what_a_file_says_no_more_goes_and_another_has_what_it_held(bench: Bench) -> None:
    declare(bench.desired, "file/a", [wish(addresses=["10.0.0.5"])])
    declare(bench.desired, "file/b", [wish("db", addresses=["10.0.0.5"])])
    db, web = rehearsed(bench, {"file/a": []}).changed
    assert (db.key, texts(db)[0], db.removing) == (DB, "10.0.0.5", False)
    assert (web.key, web.removing) == (WEB, True)
    assert not bench.desired.attachments[WEB].removing


def test_a_refusal_is_told_as_it_would_be(bench: Bench) -> None:
    declare(bench.desired, "file/a", [wish(port_mappings=["80:80"])])
    ((source, spec, error),) = rehearsed(bench, {"file/b": [wish("db", port_mappings=["80:81"])]}).waiting
    assert (source, spec.key) == ("file/b", DB)
    assert str(error) == "port_mappings: tcp port 80 (IPv4) is held by attachment web/eth0"


def test_ports_of_the_nodes_processes_are_refused_as_they_would_be(bench: Bench) -> None:
    def check(*_: object) -> None:
        raise AlreadyHeld("port_mappings: sshd listens there")

    found = rehearse(bench.desired.scene(), {"file/a": [wish(port_mappings=["22:22"])]}, check)
    assert [str(error) for _, _, error in found.waiting] == ["port_mappings: sshd listens there"]


@pytest.mark.parametrize("source", ["file/a", "file/new"])
def test_what_waited_before_is_no_effect_of_another_file(bench: Bench, source: str) -> None:
    declare(bench.desired, "file/a", [wish()])
    declare(bench.desired, "file/b", [wish()])
    found = rehearsed(bench, {source: [wish(), wish("db")] if source == "file/a" else [wish("db")]})
    assert [it.key for it in found.changed] == [DB]
    assert not found.waiting


@settings(max_examples=50)
@given(before=st.lists(FILES, max_size=3), files=FILES)
@example(before=SHARED_BY_INTERFACES, files={"file/a": [wish(port_mappings=["80:80"])]})
def test_a_rehearsal_comes_true(before: Sequence[Files], files: Files) -> None:
    """Whatever there is, and whatever the files say: what is told is what then differs."""
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.let_go = lambda: None
        for each in before:
            for source, specs in each.items():
                declare(bench.desired, source, specs)
            settle(bench)
        records, marked = dict(bench.desired.attachments), len(bench.marked)
        found = rehearsed(bench, files)
        assert (dict(bench.desired.attachments), len(bench.marked)) == (records, marked)
        for source, specs in files.items():
            declare(bench.desired, source, specs)
        gone = {key for key, it in bench.desired.attachments.items() if it.removing}
        settle(bench)
        bench.store.close()
        after = dict(bench.desired.attachments)
        assert {it.key for it in found.changed if it.removing} == gone - after.keys()
        assert {it.key: it for it in found.changed if not it.removing} == {
            key: it for key, it in after.items() if it != records.get(key)
        }
        told = {(source, str(spec.key), str(error)) for source, spec, error in found.waiting}
        assert {it for it in waiting(bench) if it[0] in files} == {it for it in told if it[0] in files}
