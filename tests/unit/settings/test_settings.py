"""Settings: defaults, bounds, text forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netplumb.models.settings import LogFormat, Settings
from netplumb.reconciler.settings.mistakes import wrongs


def mistakes(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    return [str(wrong) for wrong in wrongs(caught.value, Settings, data)]


def test_every_default_is_usable_and_there_is_no_default_pool() -> None:
    settings = Settings()
    assert settings.socket == Path("/run/netplumb/workloadnet.sock")
    assert settings.socket_mode == 0o660
    assert settings.pools == ()
    assert settings.state_files is None


def test_every_setting_has_a_description() -> None:
    assert all(it.description for it in Settings.model_fields.values())


@pytest.mark.parametrize("text", ["0640", "640", "0o640"])
def test_a_mode_in_text_is_octal(text: str) -> None:
    assert Settings.model_validate({"socket_mode": text}).socket_mode == 0o640


def test_text_is_accepted_for_every_type() -> None:
    settings = Settings.model_validate({"resync_s": "2.5", "masquerade": "false", "mtu": "1400", "log_format": "json"})
    assert (settings.resync_s, settings.masquerade, settings.mtu) == (2.5, False, 1400)
    assert settings.log_format is LogFormat.JSON


@pytest.mark.parametrize(
    "data",
    [
        {},
        {
            "pools": ["10.213.0.0/24", {"cidr": "fd13::/64", "reserved": ["fd13::53"]}],
            "socket_mode": 0o600,
            "mtu": 9000,
        },
    ],
)
def test_a_dump_gives_the_same_settings_again(data: dict[str, Any]) -> None:
    settings = Settings.model_validate(data)
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"socket": ""}, "socket: must not be empty"),
        ({"socket": "/run/" + "x" * 99}, "socket: is 104 bytes long; a unix socket's path holds at most 103"),
        ({"data_dir": "/run/a\nb"}, "data_dir: must hold printable characters only"),
        ({"socket_mode": "0888"}, "socket_mode: '0888' is not an octal mode such as 0660"),
        ({"socket_mode": 660}, "socket_mode: must be less than or equal to 511"),
        ({"resync_s": 0}, "resync_s: must be greater than 0"),
        ({"resync_s": "inf"}, "resync_s: must be a finite number"),
        ({"masquerade": "perhaps"}, "masquerade: must be true or false, not perhaps"),
        ({"mtu": 1279}, "mtu: must be 0 or 1280 to 65535"),
        ({"mtu": "x"}, "mtu: must be a whole number, not x"),
        ({"log_level": "loud"}, "log_level: must be 'debug', 'info', 'warning' or 'error', not loud"),
        ({"state_file": "/x"}, "state_file: is unknown; did you mean state_files?"),
        ({"zzz": "/x"}, "zzz: is unknown"),
        ({"pools": ["10.0.0.1/24"]}, "pools[0]: 10.0.0.1/24 has host bits set"),
        ({"pools": [{"cidr": "10.0.0.0/24", "reserve": []}]}, "pools[0].reserve: is unknown; did you mean reserved?"),
        ({"pools": [["10.0.0.0/24"]]}, "pools[0]: must be a mapping"),
        ({"pools": ["10.0.0.0/24", "10.0.0.0/24"]}, "pools: 10.0.0.0/24 is given twice"),
    ],
)
def test_a_wrong_value_is_one_clear_line(data: dict[str, Any], line: str) -> None:
    assert mistakes(data) == [line]


@pytest.mark.parametrize("pools", [["10.0.0.0/8", "10.1.0.0/16"], ["fd13:1::/64", "fd13::/16"]])
def test_pools_that_overlap_are_refused_by_name(pools: list[str]) -> None:
    assert mistakes({"pools": pools}) == [f"pools: {pools[0]} overlaps {pools[1]}; pools must not share addresses"]
