"""Descriptors are kept back for the daemon's own work, and lent one by one where none is free otherwise."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from netplumb.reconciler.kernel.descriptors import RESERVE, opened

KEPT = 3


@pytest.fixture(autouse=True)
def filled() -> Iterator[None]:
    RESERVE.fill(KEPT)
    yield
    RESERVE.empty()


class Scarce:
    """Opens something once so many were freed for it, or fails with another error in its place."""

    def __init__(self, missing: int, code: int = errno.EMFILE) -> None:
        self.missing = missing
        self._code = code

    def open(self) -> str:
        self.missing -= 1
        if self.missing >= 0:
            raise OSError(self._code, "none free")
        return "opened"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_what_is_kept_back_is_lent_where_nothing_is_free(code: int) -> None:
    """As much of it as it takes, and it is taken back."""
    assert opened(Scarce(2, code).open) == "opened"
    assert not RESERVE.is_whole
    assert [RESERVE.lend(), RESERVE.lend()] == [True, False]
    RESERVE.keep()
    assert RESERVE.is_whole


def test_where_nothing_is_left_the_error_is_told() -> None:
    with pytest.raises(OSError, match="none free"):
        opened(Scarce(KEPT + 1).open)


def test_any_other_error_takes_nothing_from_it() -> None:
    with pytest.raises(PermissionError):
        opened(Scarce(1, errno.EACCES).open)
    assert RESERVE.is_whole


def test_an_empty_one_keeps_nothing() -> None:
    """Such as that of a program that is no daemon."""
    RESERVE.empty()
    RESERVE.keep()
    assert not RESERVE.lend()
