"""From a runtime's parameters to a wish: every capability and convention, and who is named when one is wrong."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from netplumb.api.cni.request import Request, request
from netplumb.api.cni.spec import CniError, Code
from netplumb.api.cni.wishes import attachment_spec
from netplumb.models.attachment import AttachmentSpec
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.ports import PortMapping, Protocol

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
}


def asked(environment: dict[str, str] | None = None, **fields: object) -> Request:
    config = {"cniVersion": "1.0.0", "name": "cluster", "type": "netplumb-cni", **fields}
    return request(ENVIRONMENT | (environment or {}), json.dumps(config).encode())


def wish(environment: dict[str, str] | None = None, **fields: object) -> AttachmentSpec:
    return attachment_spec(asked(environment, **fields))


def test_the_least_is_a_container_a_namespace_and_an_interface() -> None:
    spec = wish()
    assert (spec.workload_id, spec.container_id, spec.netns.path, spec.if_name) == ("c1", "c1", "/run/netns/c1", "eth0")
    assert spec == AttachmentSpec.model_validate(
        {"workload_id": "c1", "container_id": "c1", "netns": {"path": "/run/netns/c1"}, "if_name": "eth0"}
    )


def test_a_pod_is_the_workload_and_its_sandbox_the_container() -> None:
    """So that a sandbox that is made anew keeps the pod's addresses."""
    spec = wish({"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_UID=0b1e"})
    assert (spec.workload_id, spec.container_id) == ("0b1e", "c1")


def test_port_mappings_as_containerd_and_podman_write_them() -> None:
    """Capability portMappings. A protocol in capitals and an empty address are taken as meant."""
    spec = wish(
        runtimeConfig={
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
                {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
                {"hostPort": 9090, "containerPort": 90},
            ]
        }
    )
    assert spec.port_mappings == (
        PortMapping(host_port=8080, container_port=80),
        PortMapping(host_port=53, container_port=5353, protocol=Protocol.UDP, host_ip=ip_address("192.0.2.1")),
        PortMapping(host_port=9090, container_port=90),
    )


def test_gos_own_spelling_is_taken() -> None:
    """go-cni names no JSON keys, so that containerd writes the names of Go's fields."""
    spec = wish(
        runtimeConfig={
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "192.0.2.1"}],
            "bandwidth": {"IngressRate": 1_000_000, "IngressBurst": 0, "EgressRate": 2_000_000, "EgressBurst": 0},
            "dns": {"Servers": ["192.0.2.53"], "Searches": ["example.org"], "Options": None},
        }
    )
    assert spec.port_mappings == (
        PortMapping(host_port=8080, container_port=80, protocol=Protocol.UDP, host_ip=ip_address("192.0.2.1")),
    )
    assert spec.bandwidth == Bandwidth(ingress_rate=1_000_000, egress_rate=2_000_000)
    assert (spec.dns.servers, spec.dns.searches) == ((ip_address("192.0.2.53"),), ("example.org",))


def test_bandwidth_is_taken_in_bits() -> None:
    """Capability bandwidth: rates in bits per second, bursts in bits; containerd's burst is the largest there is."""
    limits = {"ingressRate": 1_000_000, "ingressBurst": 2**32 - 1, "egressRate": 2_000_000, "egressBurst": 3_000}
    assert wish(runtimeConfig={"bandwidth": limits}).bandwidth == Bandwidth(
        ingress_rate=1_000_000, ingress_burst=2**32 - 1, egress_rate=2_000_000, egress_burst=3_000
    )


def test_dns_of_the_runtime_replaces_that_of_the_network() -> None:
    """Capability dns has other words for the same than a network's configuration."""
    network = {"nameservers": ["192.0.2.53"], "search": ["cluster.local"], "options": ["ndots:5"]}
    dns = wish(dns=network).dns
    assert (dns.servers, dns.searches, dns.options) == ((ip_address("192.0.2.53"),), ("cluster.local",), ("ndots:5",))
    dns = wish(dns=network, runtimeConfig={"dns": {"servers": ["2001:db8::53"], "searches": ["example.org"]}}).dns
    assert (dns.servers, dns.searches, dns.options) == ((ip_address("2001:db8::53"),), ("example.org",), ())


@pytest.mark.parametrize(
    ("environment", "fields", "addresses"),
    [
        ({}, {"runtimeConfig": {"ips": ["10.0.0.5/24", "fd00::5"]}}, ["10.0.0.5", "fd00::5"]),
        ({}, {"runtimeConfig": {"ips": ["10.0.0.5", "fd00::5", "10.0.0.5/24"]}}, ["10.0.0.5", "fd00::5"]),
        ({}, {"args": {"cni": {"ips": ["10.0.0.6"]}}}, ["10.0.0.6"]),
        ({"CNI_ARGS": "IP=10.0.0.7/24"}, {}, ["10.0.0.7"]),
        ({"CNI_ARGS": "IP=10.0.0.7"}, {"args": {"cni": {"ips": ["10.0.0.6"]}}}, ["10.0.0.6"]),
        ({}, {"args": {"cni": {"ips": ["10.0.0.6"]}}, "runtimeConfig": {"ips": ["10.0.0.5"]}}, ["10.0.0.5"]),
    ],
)
def test_static_addresses(environment: dict[str, str], fields: dict[str, object], addresses: list[str]) -> None:
    """Capability ips wins over `args`, and that over CNI_ARGS. A prefix length is dropped, and what is said twice."""
    assert [str(it) for it in wish(environment, **fields).addresses] == addresses


@pytest.mark.parametrize(
    ("environment", "fields"),
    [
        ({}, {"runtimeConfig": {"mac": "02:00:5E:10:00:01"}}),
        ({"CNI_ARGS": "MAC=02:00:5e:10:00:01"}, {}),
        ({"CNI_ARGS": "MAC=02:00:5e:10:00:99"}, {"runtimeConfig": {"mac": "02:00:5e:10:00:01"}}),
    ],
)
def test_a_mac_address(environment: dict[str, str], fields: dict[str, object]) -> None:
    """Capability mac wins over CNI_ARGS."""
    assert wish(environment, **fields).mac == "02:00:5e:10:00:01"


def test_pool_mtu_and_default_route_are_of_the_network() -> None:
    spec = wish(pool="blue", mtu=1400, default_route=False)
    assert (spec.pool, spec.mtu, spec.default_route) == ("blue", 1400, False)


def test_the_pod_and_the_labels_of_args_become_labels() -> None:
    """Pools can be chosen by them. What is empty is left out."""
    spec = wish(
        {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_UID=;X=y"},
        args={"cni": {"labels": [{"key": "app", "value": "web"}]}},
    )
    assert spec.labels == {"K8S_POD_NAMESPACE": "prod", "K8S_POD_NAME": "web-0", "app": "web"}


def test_annotations_are_carried() -> None:
    """Capability io.kubernetes.cri.pod-annotations. Which are kept is for the daemon's settings to say."""
    annotations = {"example.org/tier": "front", "note": "two\nlines"}
    assert wish(runtimeConfig={"io.kubernetes.cri.pod-annotations": annotations}).annotations == annotations


def test_annotations_never_fail_an_add() -> None:
    """They reach 256 KiB, and may have keys that no wish can hold."""
    annotations = {"a": "x" * 262_144, "k" * 317: "kept", "k" * 318: "not", "": "not", "new\nline": "not"}
    kept = wish(runtimeConfig={"io.kubernetes.cri.pod-annotations": annotations}).annotations
    assert sorted(kept) == ["a", "k" * 317]


@pytest.mark.parametrize(
    ("environment", "fields", "code", "words"),
    [
        ({"CNI_IFNAME": "much-too-long-a-name"}, {}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth/0"}, {}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_NETNS": "run/netns/c1"}, {}, Code.INVALID_ENVIRONMENT, "CNI_NETNS"),
        ({"CNI_ARGS": "K8S_POD_UID=" + "x" * 201}, {}, Code.INVALID_ENVIRONMENT, "K8S_POD_UID"),
        ({"CNI_ARGS": "IP=here"}, {}, Code.INVALID_CONFIG, "CNI_ARGS: IP"),
        ({}, {"runtimeConfig": {"ips": ["10.0.0.300"]}}, Code.INVALID_CONFIG, "runtimeConfig.ips"),
        ({}, {"runtimeConfig": {"ips": ["127.0.0.1"]}}, Code.INVALID_CONFIG, "runtimeConfig.ips[0]"),
        ({}, {"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}, Code.INVALID_CONFIG, "runtimeConfig.mac"),
        (
            {},
            {"runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 80}]}},
            Code.INVALID_CONFIG,
            "runtimeConfig.portMappings[0].hostPort",
        ),
        (
            {},
            {"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}},
            Code.INVALID_CONFIG,
            "runtimeConfig.portMappings[0].protocol",
        ),
        (
            {},
            {"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "hostIP": "x"}]}},
            Code.INVALID_CONFIG,
            "runtimeConfig.portMappings[0].hostIP",
        ),
        (
            {},
            {"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": n} for n in (1, 2)]}},
            Code.INVALID_CONFIG,
            "runtimeConfig.portMappings",
        ),
        ({}, {"runtimeConfig": {"bandwidth": {"ingressRate": 1}}}, Code.INVALID_CONFIG, "runtimeConfig.bandwidth"),
        ({}, {"runtimeConfig": {"dns": {"servers": ["x"]}}}, Code.INVALID_CONFIG, "runtimeConfig.dns.servers[0]"),
        ({}, {"dns": {"nameservers": ["x"]}}, Code.INVALID_CONFIG, "dns.nameservers[0]"),
        ({}, {"pool": "no such name!"}, Code.INVALID_CONFIG, "pool"),
        ({}, {"mtu": 1}, Code.INVALID_CONFIG, "mtu"),
        ({}, {"args": {"cni": {"labels": [{"key": ""}]}}}, Code.INVALID_CONFIG, "args.cni.labels"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_written(
    environment: dict[str, str], fields: dict[str, object], code: Code, words: str
) -> None:
    """Error 4 for a variable, error 7 for the configuration."""
    with pytest.raises(CniError) as caught:
        wish(environment, **fields)
    assert caught.value.code is code
    assert words in caught.value.message
