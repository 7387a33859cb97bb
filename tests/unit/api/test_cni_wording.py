"""The result of an ADD, word for word, in each version; and what a CHECK finds missing of it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from netplumb.api.cni.config import Result
from netplumb.api.cni.request import Request, request
from netplumb.api.cni.result import add_result, missing
from netplumb.api.cni.spec import SUPPORTED
from netplumb.api.cni.wishes import attachment_spec
from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.base import IPAddress
from netplumb.models.naming import ifb_name, node_if_name, workload_mac
from netplumb.models.status import AttachmentStatus, AttachmentView, Condition, Phase

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/var/run/netns/c1",
    "CNI_IFNAME": "eth0",
}
V4, V6 = ip_address("10.99.0.2"), ip_address("fd99::2")


def asked(version: str = "1.1.0", **fields: object) -> Request:
    config = {"cniVersion": version, "name": "cluster", "type": "netplumb-cni", **fields}
    return request(ENVIRONMENT, json.dumps(config).encode())


def attached(to: Request, *addresses: IPAddress) -> AttachmentView:
    spec = attachment_spec(to)
    record = Attachment(spec=spec, source=to.source, addresses=addresses or (V4, V6), mac=workload_mac(spec.key))
    return AttachmentView(record, AttachmentStatus(phase=Phase.ATTACHED, observed_generation=1))


def result(to: Request, *addresses: IPAddress) -> dict[str, Any]:
    """As the runtime reads it."""
    found: dict[str, Any] = json.loads(json.dumps(add_result(to, attached(to, *addresses))))
    return found


def test_the_result_of_version_1_1_0() -> None:
    """Both ends with their MACs, the container's with its sandbox; the addresses refer to it by its index."""
    to = asked("1.1.0", mtu=1400)
    key = attached(to).key
    assert result(to) == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": node_if_name(key), "mac": "02:9c:52:fe:6d:0a", "mtu": 1400},
            {"name": "eth0", "mac": workload_mac(key), "mtu": 1400, "sandbox": "/var/run/netns/c1"},
        ],
        "ips": [
            {"interface": 1, "address": "10.99.0.2/32", "gateway": "169.254.77.1"},
            {"interface": 1, "address": "fd99::2/128", "gateway": "fe80::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.77.1"}, {"dst": "::/0", "gw": "fe80::1"}],
        "dns": {},
    }


@pytest.mark.parametrize("version", SUPPORTED)
def test_each_version_has_its_fields(version: str) -> None:
    """The family of an address was told until 1.0.0; the MTU of an interface is since 1.1.0."""
    found = result(asked(version, mtu=1400))
    assert found["cniVersion"] == version
    assert [ip.get("version") for ip in found["ips"]] == (["4", "6"] if version < "1" else [None, None])
    assert [it.get("mtu") for it in found["interfaces"]] == ([1400] * 2 if version == "1.1.0" else [None] * 2)


def test_an_mtu_that_is_the_nodes_is_not_told() -> None:
    """It was not asked for, and may change."""
    assert all("mtu" not in it for it in result(asked())["interfaces"])


def test_one_family_has_one_address_and_one_route() -> None:
    found = result(asked(), V6)
    assert [ip["address"] for ip in found["ips"]] == ["fd99::2/128"]
    assert [route["dst"] for route in found["routes"]] == ["::/0"]


def test_a_family_that_is_switched_off_is_not_told() -> None:
    to = asked()
    view = attached(to)
    off = AttachmentStatus(Phase.ATTACHED, 1, (Condition("IPv6Disabled", True),))
    found = add_result(to, replace(view, status=off))
    assert [ip["address"] for ip in found["ips"]] == ["10.99.0.2/32"]


def test_an_interface_without_the_default_route_tells_none() -> None:
    to = asked()
    assert add_result(to, replace(attached(to), default_route=False))["routes"] == []


def test_dns_is_carried_through() -> None:
    """In the words of a result, whatever words it came in."""
    network = {"nameservers": ["192.0.2.53"], "domain": "cluster.local", "search": ["a.example"], "options": ["rotate"]}
    assert result(asked(dns=network))["dns"] == network
    runtime = {"servers": ["2001:db8::53"], "searches": ["b.example"], "options": ["ndots:5"]}
    assert result(asked(runtimeConfig={"dns": runtime}))["dns"] == {
        "nameservers": ["2001:db8::53"],
        "search": ["b.example"],
        "options": ["ndots:5"],
    }


def test_the_interface_that_shapes_is_told() -> None:
    """The list is of all interfaces that the attachment created, also those on the host."""
    found = result(asked(runtimeConfig={"bandwidth": {"egressRate": 1_000_000}}))
    assert [it["name"] for it in found["interfaces"]][2:] == [ifb_name(AttachmentKey("c1", "eth0"))]
    assert {ip["interface"] for ip in found["ips"]} == {1}
    assert len(result(asked(runtimeConfig={"bandwidth": {"ingressRate": 1_000_000}}))["interfaces"]) == 2


BEFORE = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "veth0", "mac": "02:00:00:00:00:01", "pciID": "0000:00:1f.6"},
        {"name": "net0", "sandbox": "/var/run/netns/c1", "unheardOf": [1, {"a": None}]},
    ],
    "ips": [{"interface": 1, "address": "192.0.2.7/24", "gateway": "192.0.2.1"}],
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "priority": 7}],
    "dns": {"nameservers": ["192.0.2.53"]},
    "unheardOf": {"b": 2},
}


def test_a_result_before_ours_stays_and_ours_counts_on() -> None:
    """prevResult in a chain: what is in it is passed on word for word, ours follows, its indexes moved."""
    found = result(asked(prevResult=BEFORE))
    assert found["interfaces"][:2] == BEFORE["interfaces"]
    assert found["ips"][:1] == BEFORE["ips"]
    assert found["routes"][:1] == BEFORE["routes"]
    assert found["dns"] == BEFORE["dns"]
    assert found["unheardOf"] == BEFORE["unheardOf"]
    assert [ip["interface"] for ip in found["ips"]] == [1, 3, 3]
    assert found["interfaces"][3]["name"] == "eth0"
    assert len(found["interfaces"]) == 4


def test_dns_of_ours_replaces_that_of_a_result_before() -> None:
    found = result(asked(prevResult=BEFORE, runtimeConfig={"dns": {"servers": ["203.0.113.53"]}}))
    assert found["dns"] == {"nameservers": ["203.0.113.53"]}


def test_the_result_of_the_add_holds() -> None:
    """So does one to which a later plugin added an interface, an address on ours, and routes."""
    to = asked()
    expected = result(to)
    assert missing(to, Result.model_validate(expected), attached(to)) == ""
    expected["interfaces"].append({"name": "tun0", "sandbox": "/var/run/netns/c1"})
    expected["ips"] += [{"interface": 1, "address": "192.0.2.9/24"}, {"interface": 2, "address": "192.0.2.10/24"}]
    expected["routes"] = []
    assert missing(to, Result.model_validate(expected), attached(to)) == ""


def test_a_result_without_our_interface_does_not_hold() -> None:
    """The name in another sandbox is another interface."""
    to = asked()
    expected = result(to)
    expected["interfaces"][1]["sandbox"] = "/var/run/netns/c2"
    assert "no interface eth0" in missing(to, Result.model_validate(expected), attached(to))


def test_a_result_with_another_address_does_not_hold() -> None:
    to = asked()
    expected = Result.model_validate(result(to))
    assert "10.99.0.3" in missing(to, expected, attached(to, ip_address("10.99.0.3"), V6))


def test_a_result_with_an_address_that_is_off_does_not_hold() -> None:
    to = asked()
    expected = Result.model_validate(result(to))
    off = AttachmentStatus(Phase.ATTACHED, 1, (Condition("IPv6Disabled", True),))
    assert "fd99::2" in missing(to, expected, replace(attached(to), status=off))


def test_a_family_that_is_off_inside_is_what_a_later_plugin_made_of_it() -> None:
    to = asked()
    expected = Result.model_validate(result(to))
    off = AttachmentStatus(Phase.ATTACHED, 1, (Condition("IPv6Disabled", True, "SwitchedOffInWorkload"),))
    assert not missing(to, expected, replace(attached(to), status=off))
