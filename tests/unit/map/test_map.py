"""The node drawn: who stands with whom, what is said to be wrong, and that no text of a workload's becomes markup."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from netplumb.api.map import page
from netplumb.api.map.picture import Picture, limits, picture, port
from netplumb.api.map.svg import drawing
from netplumb.api.map.tree import tree
from netplumb.api.text import NO_UPLINK
from netplumb.api.v1 import netplumb_pb2 as pb

SVG = "{http://www.w3.org/2000/svg}"
POOLS = [
    pb.PoolUsage(name="10.99.0.0/24", held=2, size="253"),
    pb.PoolUsage(name="fd99::/64", held=2, size=str(2**64 - 2)),
    pb.PoolUsage(name="10.98.0.0/24", held=0, size="253"),
]
UPLINK = pb.Uplink(name="up0", addresses=["192.0.2.1"], mtu=1500)
STATUS = pb.StatusResponse(ready=True, pools=POOLS, uplinks=[UPLINK])
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def attachment(workload_id: str = "web", *addresses: str, phase: str = "Attached", **fields: Any) -> pb.Attachment:
    return pb.Attachment(
        workload_id=workload_id, if_name="eth0", phase=phase, generation=1, addresses=addresses, **fields
    )


WEB = attachment("web", "10.99.0.2", "fd99::2", port_mappings=[pb.PortMapping(host_port=8080, container_port=80)])
BROKEN = attachment("db", "192.0.2.9", phase="Failed", unmet=[pb.Unmet(workload_id="db", reason="Conflict")])


def drawn(*attachments: pb.Attachment, status: pb.StatusResponse = STATUS) -> Picture:
    return picture(status, attachments)


def test_workloads_stand_with_those_of_the_same_pools() -> None:
    """A pool that nobody uses is there too, and so is what has an address outside all pools."""
    found = drawn(WEB, attachment("api", "10.99.0.3", "fd99::3"), BROKEN)
    names = {group.name: [it.workload_id for it in group.attachments] for group in found.groups}
    assert names == {"10.98.0.0/24": [], "10.99.0.0/24, fd99::/64": ["web", "api"], "outside all pools": ["db"]}
    assert (found.attached, found.broken) == (3, 1)


def test_what_is_wrong_with_the_node_is_told() -> None:
    """That it has no way out among it, which nothing else would show."""
    status = pb.StatusResponse(unmet=[pb.Unmet(reason="ForwardBlocked", message="by Docker"), *BROKEN.unmet])
    assert drawn(status=status).problems == (
        f"no uplink: {NO_UPLINK}",
        "ForwardBlocked: by Docker",
    )


def test_ports_and_limits_in_few_words() -> None:
    mapping = pb.PortMapping(host_port=5000, host_port_end=5009, container_port=6000, protocol="udp")
    assert port(mapping) == "5000-5009→6000/udp"
    assert limits(pb.Bandwidth(ingress_rate=1_500_000, egress_rate=64_000)) == "↓1.5M ↑64k"


def test_the_tree_tells_each_workload_below_its_pools() -> None:
    assert [line.plain.rstrip() for line in tree(drawn(WEB, BROKEN)).lines(80)] == [
        "node  ready, 2 attachments, 1 not as wished",
        "├── uplink up0  192.0.2.1, MTU 1500",
        "├── outside all pools",
        "│   └── db/eth0  Failed  192.0.2.9",
        "│       └── ! Conflict",
        "├── pool 10.98.0.0/24  0 of 253 held",
        "└── pools 10.99.0.0/24, fd99::/64  2 of 253 held, 2 of 2^64 held",
        "    └── web/eth0  Attached  10.99.0.2 fd99::2  8080→80",
    ]


def test_an_unnumbered_uplink_is_shown_as_that() -> None:
    status = pb.StatusResponse(ready=True, uplinks=[pb.Uplink(name="up0", mtu=1400)])
    assert "uplink up0  no address of its own, MTU 1400" in [*tree(drawn(status=status)).lines(80)][1].plain


def test_a_tree_stays_one_where_its_lines_are_wrapped() -> None:
    """Each goes on within its own branch, beside the stem of what comes below it."""
    why = pb.Unmet(workload_id="db", reason="Conflict", message="held by file/web.yaml since Monday")
    broken = attachment("db", "10.98.0.9", phase="Failed", unmet=[why])
    status = pb.StatusResponse(ready=True, pools=POOLS[2:], uplinks=[UPLINK])
    assert [line.plain.rstrip() for line in tree(drawn(broken, WEB, status=status)).lines(32)] == [
        "node  ready, 2 attachments, 1",
        "│ not as wished",
        "├── uplink up0  192.0.2.1, MTU",
        "│     1500",
        "├── outside all pools",
        "│   └── web/eth0  Attached",
        "│         10.99.0.2 fd99::2",
        "│         8080→80",
        "└── pool 10.98.0.0/24  0 of 253",
        "    │ held",
        "    └── db/eth0  Failed",
        "        │ 10.98.0.9",
        "        └── ! Conflict: held by",
        "              file/web.yaml",
        "              since Monday",
    ]


def test_one_attachment_is_not_many() -> None:
    assert next(tree(drawn(WEB)).lines(80)).plain == "node  ready, 1 attachment"
    assert ">1 attachment<" in drawing(drawn(WEB))


def test_the_drawing_has_a_box_for_each_attachment_and_none_lies_over_another() -> None:
    many = [attachment(f"w{number}", f"10.99.0.{number % 250 + 2}") for number in range(2000)]
    root = ElementTree.fromstring(drawing(drawn(*many, BROKEN)))
    boxes = [box.find(f".//{SVG}rect") for box in root.iter(f"{SVG}g") if "data-key" in box.attrib]
    assert all(box is not None for box in boxes)
    places = [
        tuple(float(box.get(name, "")) for name in ("x", "y", "width", "height")) for box in boxes if box is not None
    ]
    assert len(places) == len(set(places)) == 2001
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert all(x + w <= width and y + h <= height for x, y, w, h in places)
    rows: dict[float, list[tuple[float, float]]] = {}
    for x, y, w, _ in places:
        rows.setdefault(y, []).append((x, w))
    for row in rows.values():
        row.sort()
        assert all(left + w <= right for (left, w), (right, _) in pairwise(row))


def test_no_text_becomes_markup() -> None:
    """Whatever a workload is called, what labels it has, and what is said of it."""
    it = attachment(HOSTILE, labels={HOSTILE: HOSTILE}, unmet=[pb.Unmet(reason="X", message=HOSTILE)])
    status = pb.StatusResponse(uplinks=[pb.Uplink(name=HOSTILE)], unmet=[pb.Unmet(reason="Y", message=HOSTILE)])
    for text in (page.alone(status, [it]), page.still(status, [it])):
        assert "<img" not in text
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page.still(status, [it]))
    assert json.loads(data)["attachments"][0]["workload_id"] == HOSTILE


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """A drawing's namespace is a name, not an address that is looked up."""
    for text in (page.still(STATUS, [WEB]), page.live(), page.alone(STATUS, [WEB])):
        without_names = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?:|//[a-z]+\.|@import|<link(?! rel=\"icon\" href=\"data:,\")", without_names)


def test_the_policy_allows_the_pages_own_script_and_style_alone() -> None:
    text = page.live()
    assert page.policy(text) == page.policy(page.live())
    assert page.policy(text) != page.policy(text.replace('"use strict"', "evil()"))
    assert "default-src 'none'" in page.policy(text)
    assert "unsafe" not in page.policy(text)
