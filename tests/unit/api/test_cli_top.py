"""`netplumb top` and `netplumb map` against a server over fake workloads."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from netplumb.api.cli.rates import ordered, rates, scaled
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import Netplumb, netplumb

__all__ = ["netplumb"]


def traffic(at: float, **received: int) -> pb.TrafficResponse:
    told = [
        pb.Traffic(workload_id=name, if_name="eth0", received_bytes=count, received_packets=count // 100, sent_bytes=7)
        for name, count in received.items()
    ]
    return pb.TrafficResponse(at=at, traffic=told)


def test_rates_are_of_the_time_between_two_looks() -> None:
    (rate,) = rates(traffic(10.0, web=1000), traffic(12.0, web=3000))
    assert (rate.received_bps, rate.received_pps, rate.sent_bps) == (8000, 10, 0)
    assert (rate.received_bytes, rate.sent_bytes) == (3000, 7)


def test_what_is_new_has_no_rate_and_a_link_made_anew_that_of_its_own() -> None:
    new, anew = rates(traffic(10.0, web=1000), traffic(11.0, db=500, web=100))
    assert (new.received_bps, anew.received_bps) == (0, 800)


def test_the_order_is_that_of_the_rate_the_total_or_the_name() -> None:
    found = rates(traffic(0.0, a=0, b=90, c=0), traffic(1.0, a=1, b=91, c=50))
    order = {
        (by_total, by_name): [it.workload_id for it in ordered(found, by_total=by_total, by_name=by_name)]
        for by_total, by_name in ((False, False), (True, False), (False, True))
    }
    assert order == {(False, False): list("cab"), (True, False): list("bca"), (False, True): list("abc")}


@pytest.mark.parametrize(("number", "text"), [(0, "0 "), (999, "999 "), (1500, "1.50 k"), (123_456_789, "123 M")])
def test_numbers_have_three_digits(number: float, text: str) -> None:
    assert scaled(number) == text


def test_piped_it_looks_once(netplumb: Netplumb) -> None:
    """Without what clears a terminal."""
    result = netplumb("top", "--interval", "0.01")
    header, line = result.stdout.splitlines()
    assert header.split()[:3] == ["WORKLOAD", "INTERFACE", "RECEIVES"]
    assert line.startswith("web-1     eth0 ")
    assert "\x1b" not in result.stdout


def test_it_tells_of_the_labels_that_were_asked_for(netplumb: Netplumb) -> None:
    assert json.loads(netplumb("top", "--interval", "0.01", "-l", "app=db", "-o", "json").stdout) == []


def test_map_is_a_tree_an_svg_or_a_page(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    workloads.views[view("db-1").key] = view("db-1")
    lines = netplumb("map").stdout.splitlines()
    assert lines[0] == "node  ready, 2 attachments"
    assert any("web-1/eth0" in line for line in lines)
    assert ElementTree.fromstring(netplumb("map", "-o", "svg").stdout).tag.endswith("svg")
    assert netplumb("map", "-o", "html").stdout.startswith("<!doctype html>")
    assert "db-1" not in netplumb("map", "-l", "app=nothing").stdout
