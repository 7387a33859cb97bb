"""Variables of the environment that were meant for netplumb."""

from __future__ import annotations

import pytest

from netplumb.models.settings import Settings
from netplumb.reconciler.settings.variables import mistyped


def told(**environ: str) -> list[tuple[str, str]]:
    return list(mistyped(environ, Settings.model_fields))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NETPLUMB_RESYNC", "NETPLUMB_RESYNC_S"),
        ("NETPLUMB_SOKET", "NETPLUMB_SOCKET"),
        ("NETPLUMB_STATEFILES", "NETPLUMB_STATE_FILES"),
        ("NETPLUMB_POOL", "NETPLUMB_POOLS"),
        ("NETPLUMB_LOGLEVEL", "NETPLUMB_LOG_LEVEL"),
        ("NETPLUM_MTU", "NETPLUMB_MTU"),
        ("NETPLUMP_SOCKET", "NETPLUMB_SOCKET"),
        ("netplumb_socket", "NETPLUMB_SOCKET"),
    ],
)
def test_the_nearest_right_name_is_told(name: str, meant: str) -> None:
    assert told(**{name: "1"}) == [(name, f"is unknown; did you mean {meant}?")]


def test_one_that_is_near_to_none_is_unknown() -> None:
    assert told(NETPLUMB_X="1") == [("NETPLUMB_X", "is unknown")]


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_what_is_a_setting_is_right(setting: str) -> None:
    assert not told(**{f"NETPLUMB_{setting.upper()}": "1"})


@pytest.mark.parametrize(
    "name",
    [
        "NETPLUMB_SERVICE_HOST",
        "NETPLUMB_SERVICE_PORT",
        "NETPLUMB_SERVICE_PORT_GRPC",
        "NETPLUMB_PORT",
        "NETPLUMB_PORT_50051_TCP",
        "NETPLUMB_PORT_50051_TCP_ADDR",
        "NETPLUMB_METRICS_SERVICE_HOST",
        "NET_TOOLS",
        "NETPLAN_DEBUG",
    ],
)
def test_what_others_set_is_theirs(name: str) -> None:
    """Kubernetes sets such for every service of a name, in every pod beside it."""
    assert not told(**{name: "1"})


def test_an_empty_one_is_not_set() -> None:
    assert not told(NETPLUMB_SOKET="")
