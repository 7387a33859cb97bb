"""What is kept of the cluster over a restart, in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.known import Known, KnownFile, range_of
from netplumb.reconciler.cluster.records import Identity

ENTRIES = {"/netplumb/shared/nodes/a": Entry(b"\x00\xff not text", 3, 5), "/netplumb/shared/x": Entry(b"", 4, 4)}


def known() -> Known:
    return Known(prefix="/netplumb", node="a", identity=Identity(boot="1"), shared=range_of(ENTRIES, 7))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Whatever bytes a value has, with the revisions at which it was made and written, and their position."""
    KnownFile(tmp_path).save(known())
    found = KnownFile(tmp_path).load()
    assert found is not None
    assert (found.shared.as_entries(), found.shared.position) == (ENTRIES, 7)


@pytest.mark.parametrize("harm", [("AP8gbm90IHRleHQ=", "A"), ("[", ""), ('"format":', '"format":9,"x":')])
def test_a_damaged_file_is_none(tmp_path: Path, harm: tuple[str, str]) -> None:
    """Of another format, not JSON, or with a value that was not written by this."""
    file = KnownFile(tmp_path)
    file.save(known())
    text = file.path.read_text()
    assert harm[0] in text
    file.path.write_text(text.replace(*harm))
    found = KnownFile(tmp_path).load()
    assert found is None or not found.is_of("/netplumb", "a", Identity(boot="1"))
