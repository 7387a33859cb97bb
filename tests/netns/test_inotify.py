"""What inotify tells of a directory: each name that comes and goes, and that there is nothing more to tell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from netplumb.reconciler.kernel.inotify import Names, WatchedDirectory
from netplumb.reconciler.watch.namespaces import told_of


def test_names_that_come_and_go_are_told(tmp_path: Path) -> None:
    """Made, linked, moved and removed; also one that is not UTF-8, as a path would name it."""
    with WatchedDirectory(tmp_path) as watched:
        assert watched.read() == Names()
        (tmp_path / "made").touch()
        odd = os.fsencode(tmp_path) + b"/\xff"
        os.close(os.open(odd, os.O_CREAT))
        assert watched.read() == Names(appeared={"made", "\udcff"})
        (tmp_path / "made").rename(tmp_path / "moved")
        assert watched.read() == Names(appeared={"moved"}, gone={"made"})
        (tmp_path / "moved").unlink()
        assert watched.read() == Names(gone={"moved"})


@pytest.mark.parametrize("end", [Path.rmdir, lambda path: path.rename(path.with_name("elsewhere"))])
def test_a_directory_that_goes_is_told(tmp_path: Path, end: Callable[[Path], object]) -> None:
    """Nothing would be told of what is made anew at its path."""
    directory = tmp_path / "netns"
    directory.mkdir()
    with WatchedDirectory(directory) as watched:
        end(directory)
        with pytest.raises(OSError, match="is watched no more"):
            watched.read()


def test_what_is_no_directory_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WatchedDirectory(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        WatchedDirectory(tmp_path / "file")


async def test_who_waits_is_told_of_what_comes_together_at_once(tmp_path: Path) -> None:
    async def first() -> Names:
        async for names in told_of(tmp_path):
            return names
        raise AssertionError

    told = asyncio.create_task(first())
    await asyncio.sleep(0)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    assert await asyncio.wait_for(told, 5) == Names(appeared={"a", "b"})
