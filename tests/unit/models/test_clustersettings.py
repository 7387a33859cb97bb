"""The setting `cluster`: what is taken, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from netplumb.models.settings import Settings
from netplumb.reconciler.settings.mistakes import wrongs

HTTP = "http://192.0.2.1:2379"
HTTPS = "https://192.0.2.1:2379"


def mistakes(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    return [str(wrong) for wrong in wrongs(caught.value, Settings, data)]


def test_a_part_has_a_length_of_its_family_unless_it_is_said() -> None:
    pools = [{"cidr": "10.128.0.0/14"}, {"cidr": "fd80::/48"}, {"cidr": "10.64.0.0/16", "node_prefix_len": "28"}]
    cluster = Settings.model_validate({"cluster": {"endpoints": [HTTP], "pools": pools}}).cluster
    assert cluster is not None
    assert [(it.node_length, it.parts) for it in cluster.pools] == [(24, 1024), (64, 65536), (28, 4096)]


def test_a_dump_gives_the_same_settings_again() -> None:
    cluster = {
        "endpoints": f"{HTTPS}, https://[2001:db8::1]:2379/",
        "underlay": "192.0.2.9",
        "pools": [{"cidr": "10.128.0.0/14", "labels": {"a": "b"}}],
    }
    settings = Settings.model_validate({"cluster": cluster})
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("cluster", "line"),
    [
        ({}, "cluster.endpoints: is missing"),
        ({"endpoints": ["192.0.2.1:2379"]}, "'192.0.2.1:2379' is not like https://192.0.2.1:2379"),
        ({"endpoints": ["http://192.0.2.1"]}, "is not like"),
        ({"endpoints": ["http://a:b@192.0.2.1:2379"]}, "nothing comes before the host or behind the port"),
        ({"endpoints": [HTTP, HTTPS]}, "partly https and partly http"),
        ({"endpoints": [HTTP, HTTP]}, "name one twice"),
        ({"endpoints": [HTTP], "ca": "/ca"}, "ca, cert and key say nothing where the endpoints are http"),
        ({"endpoints": [HTTPS], "cert": "/cert"}, "cert and key go together"),
        ({"endpoints": [HTTPS], "user": "a"}, "user and password_file go together"),
        ({"endpoints": [HTTP], "underlay": "127.0.0.1"}, "127.0.0.1 is not an address at which other nodes reach"),
        ({"endpoints": [HTTP], "underlay": "10.0.0"}, "cluster.underlay: '10.0.0' does not appear to be"),
        ({"endpoints": [HTTP], "underlay": "a name too long for one"}, "neither an address nor the name of"),
        ({"endpoints": [HTTP], "node_name": "-a"}, "cluster.node_name: '-a' must be letters"),
        ({"endpoints": [HTTP], "prefix": "/a/"}, "cluster.prefix: '/a/' is not like /netplumb"),
        (
            {"endpoints": [HTTP], "pools": [{"cidr": "10.0.0.0/25"}]},
            "cluster.pools[0]: node_prefix_len: a part of 10.0.0.0/25 is /25 to /30, not /24",
        ),
        (
            {"endpoints": [HTTP], "pools": [{"cidr": "10.0.0.0/8"}, {"cidr": "10.9.0.0/16"}]},
            "cluster.pools: 10.0.0.0/8 and 10.9.0.0/16 overlap",
        ),
        ({"endpoints": [HTTP], "pool": []}, "cluster.pool: is unknown; did you mean pools?"),
    ],
)
def test_a_mistake_is_named(cluster: dict[str, Any], line: str) -> None:
    found = mistakes({"cluster": cluster})
    assert len(found) == 1
    assert line in found[0]


def test_a_pool_of_the_cluster_is_apart_from_the_nodes_own() -> None:
    data = {"pools": ["10.1.0.0/16"], "cluster": {"endpoints": [HTTP], "pools": [{"cidr": "10.0.0.0/8"}]}}
    assert mistakes(data) == ["cluster: pools: 10.0.0.0/8 overlaps 10.1.0.0/16 of the node's own pools"]
