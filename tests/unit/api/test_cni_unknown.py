"""What a network's configuration says and netplumb does not know: told, and no ADD fails for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from netplumb.api.cni.unknown import CAPABILITIES, KEYS, Unknowns, unknowns

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda it: st.dictionaries(st.text(), it))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"capabilities": {"portMapping": True}}, "capability portMapping is unknown; did you mean portMappings?"),
        ({"capabilities": {"bandWidth": True}}, "capability bandWidth is unknown; did you mean bandwidth?"),
        ({"capabilities": {"infinibandGUID": True}}, "capability infinibandGUID is unknown"),
        ({"runtimeConfig": {"aliases": {}}}, "capability aliases is unknown"),
        ({"runtimeConfig": {"\x1b[2J": 1}}, r"capability \x1b[2J is unknown"),
        ({"pools": "front"}, "pools is unknown; did you mean pool?"),
        ({"MTU": 1400}, "MTU is unknown; did you mean mtu?"),
        ({"allowForeignAddress": True}, "allowForeignAddress is unknown; did you mean allow_foreign_address?"),
    ],
)
def test_it_is_told_with_what_may_be_meant(config: dict[str, Any], told: str) -> None:
    assert unknowns(config) == (told,)


@pytest.mark.parametrize(
    "config",
    [
        {"capabilities": dict.fromkeys(CAPABILITIES, True), "runtimeConfig": dict.fromkeys(CAPABILITIES)},
        {"capabilities": {"ipRanges": False}},
        dict.fromkeys(KEYS),
        {"cniVersion": "1.1.0", "name": "a", "type": "netplumb-cni", "dns": {}, "prevResult": {}, "disableCheck": True},
        {"capabilities": None, "runtimeConfig": [1]},
    ],
)
def test_of_what_is_known_or_anothers_nothing_is_told(config: dict[str, Any]) -> None:
    assert unknowns(config) == ()


@given(st.dictionaries(st.sampled_from(["capabilities", "runtimeConfig", "x"]), JSON))
def test_no_configuration_is_too_strange(config: dict[str, Any]) -> None:
    assert all(word.isprintable() for word in unknowns(config))


def test_a_network_is_told_of_until_its_configuration_is_right() -> None:
    """In the log once, and by a condition as long as the network has attachments."""
    told = Unknowns()
    with capture_logs() as logs:
        told.take("pods", ["capability x is unknown"])
        told.take("pods", ["capability x is unknown"])
    assert len(logs) == 1
    (condition,) = told.conditions({"cni/pods", "rpc"})
    assert (condition.type, condition.status) == ("ConfigurationUnknown", True)
    assert condition.message == "network pods: capability x is unknown"
    assert told.conditions({"cni/others"}) == ()
    told.take("pods", [])
    assert told.conditions({"cni/pods"}) == ()
