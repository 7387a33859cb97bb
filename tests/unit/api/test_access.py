"""Who may connect to the daemon's socket, in words for who may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netplumb.api.client.errors import Unreachable
from netplumb.api.unixsocket import who_has_access


class Found:
    def __init__(self, group_id: int) -> None:
        self.st_gid = group_id


@pytest.mark.parametrize(
    ("group_id", "said"),
    [(0, "only root has it"), (os.getgid() or 1, "root has it, and the group"), (2**31 - 7, "the group that")],
    ids=["root's", "a group's", "of a group without a name"],
)
def test_the_setting_is_named(monkeypatch: pytest.MonkeyPatch, group_id: int, said: str) -> None:
    monkeypatch.setattr(Path, "stat", lambda _: Found(group_id))
    words = who_has_access(Path("/run/n.sock"))
    assert words.startswith(said) or said in words
    assert "setting socket_group" in words


def test_no_access_is_not_called_no_daemon() -> None:
    error = Unreachable(Path("/run/n.sock"), PermissionError(13, "Permission denied"))
    assert error.message.startswith("no access to /run/n.sock: Permission denied; ")
    assert "socket_group" in error.message
