"""What is kept of the cluster over a restart, in a file."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from unittest import mock

import pytest

from netplumb.reconciler.cluster.known import Known, KnownFile
from netplumb.reconciler.cluster.records import Identity


def known() -> Known:
    return Known(prefix="/netplumb", node="a", identity=Identity(boot="1"), cluster=5, lost={"10.1.0.0/24": "given up"})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    KnownFile(tmp_path).save(known())
    assert KnownFile(tmp_path).load() == known()


def test_of_two_that_save_at_once_neither_harms_the_other(tmp_path: Path) -> None:
    """As a daemon that stops while a thread of its own is at it."""
    file = KnownFile(tmp_path)
    longer = known().model_copy(update={"lost": {f"10.{it}.0.0/24": "given up" for it in range(200)}})
    with ThreadPoolExecutor(1) as thread:
        sync = os.fsync
        under_way: list[Future[None]] = []

        def meanwhile(descriptor: int) -> None:
            if not under_way:
                under_way.append(thread.submit(file.save, known()))
                wait(under_way, timeout=0.2)
            sync(descriptor)

        with mock.patch("os.fsync", meanwhile):
            file.save(longer)
            under_way[0].result()
    assert KnownFile(tmp_path).load() == known()


@pytest.mark.parametrize("harm", [("{", ""), ('"format":', '"format":9,"x":')])
def test_a_damaged_file_is_none(tmp_path: Path, harm: tuple[str, str]) -> None:
    """Of another format, or not JSON."""
    file = KnownFile(tmp_path)
    file.save(known())
    text = file.path.read_text()
    assert harm[0] in text
    file.path.write_text(text.replace(*harm))
    found = KnownFile(tmp_path).load()
    assert found is None or not found.is_of("/netplumb", "a", Identity(boot="1"))
