"""The words of the proto and those of the models mean the same."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.api import answers, wishes
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentSpec, NetnsRef
from netplumb.models.errors import InvalidRequest
from netplumb.models.naming import node_if_name
from netplumb.models.status import (
    AttachmentStatus,
    AttachmentView,
    Change,
    Comparison,
    Condition,
    Phase,
    PlannedChange,
    WatchEvent,
)
from tests.unit.api.fake import NODE_STATUS, view, view_of

PRINTABLE = st.characters(codec="utf-8").filter(str.isprintable)
ADDRESSES = st.one_of(
    st.integers(1, 2**16 - 2).map(lambda n: IPv4Network("10.213.0.0/16")[n]),
    st.integers(1, 2**64 - 2).map(lambda n: IPv6Network("fd99::/64")[n]),
)
SPECS = st.builds(
    AttachmentSpec,
    workload_id=st.text(PRINTABLE, min_size=1, max_size=50),
    netns=st.text("abc0/.-_", min_size=1, max_size=40).map(lambda text: NetnsRef(path=f"/{text}")),
    if_name=st.text("abcXYZ019-_", min_size=1, max_size=15).filter(lambda name: name not in {"lo", "all", "default"}),
    container_id=st.text("0123456789abcdef", max_size=64),
    addresses=st.lists(ADDRESSES, max_size=4, unique=True).map(tuple),
    mtu=st.one_of(st.just(0), st.integers(1280, 65535)),
    labels=st.dictionaries(st.text(PRINTABLE, min_size=1, max_size=20), st.text(PRINTABLE, max_size=20), max_size=4),
)


def request_for(spec: AttachmentSpec) -> pb.AttachRequest:
    return pb.AttachRequest(
        workload_id=spec.workload_id,
        netns=pb.NetNSAttachment(netns_path=spec.netns.path, if_name=spec.if_name),
        container_id=spec.container_id,
        labels=spec.labels,
        addresses=[str(address) for address in spec.addresses],
        mtu=spec.mtu,
        mac=spec.mac,
    )


def attach_request(**changes: Any) -> pb.AttachRequest:
    netns = pb.NetNSAttachment(
        netns_path=changes.pop("netns_path", "/run/netns/web-1"), if_name=changes.pop("if_name", "")
    )
    return pb.AttachRequest(**{"workload_id": "web-1", "netns": netns, **changes})


@given(SPECS)
def test_a_wish_survives_the_wire(spec: AttachmentSpec) -> None:
    """What a client can say arrives as the same wish."""
    wire = request_for(spec).SerializeToString()
    assert wishes.attachment_spec(pb.AttachRequest.FromString(wire)) == spec


@given(SPECS, st.sampled_from(Phase), st.integers(0, 2**40))
def test_an_attachment_is_shown_as_it_is(spec: AttachmentSpec, phase: Phase, generation: int) -> None:
    """Get, List and Watch show every field of the record and its status."""
    found = view_of(spec)
    found = AttachmentView(
        found.attachment.model_copy(update={"generation": generation}),
        AttachmentStatus(phase, generation, (Condition("Ready", False, "Retry", "no route", 12.5),), 3, 4),
    )
    shown = pb.Attachment.FromString(answers.attachment(found).SerializeToString())
    record = found.attachment
    assert (shown.workload_id, shown.if_name) == spec.key
    assert shown.netns_path == spec.netns.path
    assert shown.container_id == spec.container_id
    assert shown.source == "rpc"
    assert list(shown.addresses) == [str(address) for address in record.addresses]
    assert (shown.mac, shown.mtu, dict(shown.labels)) == (record.mac, spec.mtu, spec.labels)
    assert (shown.generation, shown.observed_generation) == (generation, generation)
    assert shown.phase == phase.value
    assert list(shown.conditions) == [
        pb.Condition(type="Ready", status=False, reason="Retry", message="no route", last_transition=12.5)
    ]
    assert (shown.retries, shown.repairs) == (3, 4)
    assert shown.node_if_name == node_if_name(spec.key)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (attach_request(workload_id=""), "workload_id: must not be empty"),
        (attach_request(workload_id="w" * 201), "workload_id: is 201 bytes long; at most 200 fit"),
        (attach_request(workload_id="a\nb"), "workload_id: must hold printable characters only"),
        (attach_request(netns_path=""), "netns.netns_path: must not be empty"),
        (pb.AttachRequest(workload_id="web-1"), "netns.netns_path: must not be empty"),
        (attach_request(netns_path="web-1"), "netns.netns_path: 'web-1' is not an absolute path"),
        (attach_request(netns_path="/" + "n" * 4095), "netns.netns_path: is longer than the kernel's"),
        (attach_request(if_name="sixteen-letters-"), "netns.if_name: 'sixteen-letters-' is longer than 15 bytes"),
        (attach_request(if_name="lo"), "netns.if_name: 'lo' is not free to choose"),
        (attach_request(if_name="eth%d"), "netns.if_name: 'eth%d' must not contain '%'"),
        (attach_request(container_id="c" * 257), "container_id: is longer than 256 characters"),
        (attach_request(container_id="a\0"), "container_id: must hold printable characters only"),
        (attach_request(labels={"": "x"}), "labels['']: must not be empty"),
        (attach_request(labels={"k" * 318: "x"}), "is longer than 317 characters"),
        (attach_request(labels={"app": "v" * 1025}), "labels['app']: is longer than 1024 characters"),
        (attach_request(labels={"app": "\x1b"}), "labels['app']: must hold printable characters only"),
        (attach_request(labels={str(n): "" for n in range(65)}), "labels: has more than 64 entries"),
        (attach_request(addresses=["10.0.0.5", "ten"]), "addresses[1]: 'ten' is not an IPv4 or IPv6 address"),
        (attach_request(addresses=["10.0.0.5/24"]), "addresses[0]: '10.0.0.5/24' is not an IPv4 or IPv6 address"),
        (attach_request(addresses=["127.0.0.1"]), "addresses[0]: 127.0.0.1 cannot be an interface's address"),
        (attach_request(addresses=["fe80::2"]), "addresses[0]: fe80::2 is link-local"),
        (attach_request(addresses=["240.0.0.1"]), "addresses[0]: 240.0.0.1 is reserved"),
        (attach_request(addresses=["10.0.0.5"] * 2), "addresses: the same address is given twice"),
        (attach_request(addresses=[f"10.0.0.{n}" for n in range(1, 18)]), "addresses: has more than 16 entries"),
        (attach_request(mac="zz"), "mac: 'zz' is not a MAC address"),
        (attach_request(mac="01:00:5e:00:00:01"), "mac: '01:00:5e:00:00:01' is a multicast address"),
        (attach_request(mtu=1279), "mtu: 1279 is not within 1280 to 65535"),
        (attach_request(mtu=65536), "mtu: 65536 is not within 1280 to 65535"),
    ],
)
def test_a_wrong_attach_is_refused_in_the_words_of_the_proto(request_: pb.AttachRequest, message: str) -> None:
    """The message names the field as the caller wrote it, and holds none of pydantic's words."""
    with pytest.raises(InvalidRequest) as caught:
        wishes.attachment_spec(request_)
    assert message in str(caught.value)
    assert "should" not in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.DetachRequest(), "workload_id: must not be empty"),
        (
            pb.DetachRequest(workload_id="w", netns=pb.NetNSAttachment(netns_path="x")),
            "netns.netns_path: 'x' is not an absolute path",
        ),
        (
            pb.DetachRequest(workload_id="w", netns=pb.NetNSAttachment(if_name="a/b")),
            "netns.if_name: 'a/b' must not contain '/'",
        ),
        (pb.DetachRequest(workload_id="w", container_id="c" * 257), "container_id: is longer than 256 characters"),
    ],
)
def test_a_wrong_detach_is_refused_in_the_words_of_the_proto(request_: pb.DetachRequest, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wishes.detach_spec(request_)
    assert message in str(caught.value)


def test_an_omitted_interface_is_eth0() -> None:
    assert wishes.attachment_spec(attach_request()).if_name == "eth0"
    assert wishes.detach_spec(pb.DetachRequest(workload_id="w")).key == ("w", "eth0")
    assert wishes.attachment_key(pb.GetRequest(workload_id="w")) == ("w", "eth0")


def test_a_detach_may_leave_its_namespace_out() -> None:
    """containerd sends an empty path once the namespace is closed."""
    assert wishes.detach_spec(pb.DetachRequest(workload_id="w", netns=pb.NetNSAttachment())).netns_path == ""


def test_a_key_needs_a_workload() -> None:
    with pytest.raises(InvalidRequest, match="workload_id: must not be empty"):
        wishes.attachment_key(pb.CheckRequest(if_name="eth0"))


def test_attach_answers_packed_addresses_of_the_families_in_use() -> None:
    """A family that is switched off in the workload is left out of `ip` and kept in the attachment."""
    on = view()
    assert [len(ip) for ip in answers.attach_response(on).ip] == [4, 16]
    off = AttachmentView(on.attachment, AttachmentStatus(conditions=(Condition("IPv6Disabled", True),)))
    assert [len(ip) for ip in answers.attach_response(off).ip] == [4]
    assert len(answers.attach_response(off).attachment.addresses) == 2


def test_text_from_the_node_is_made_printable() -> None:
    """A file name that is not UTF-8, or a foreign alias with an escape, neither breaks the wire nor a terminal."""
    changes = answers.plan_response(
        [Comparison((PlannedChange(None, "-", "link", "link np0 alias \udc80\x1b[2J"),))]
    ).changes
    assert changes[0].words == "link np0 alias \\udc80\\x1b[2J"
    assert (changes[0].workload_id, changes[0].if_name) == ("", "")


@pytest.mark.parametrize("change", Change)
def test_every_change_has_its_word(change: Change) -> None:
    shown = answers.watch_response(WatchEvent(change, None))
    assert pb.WatchResponse.Change.Name(shown.change) == change.name
    assert not shown.HasField("attachment")


def test_status_carries_every_number() -> None:
    """Pool sizes travel as text, since an IPv6 pool exceeds 64 bits."""
    shown = answers.status_response(NODE_STATUS)
    assert [(pool.name, pool.held, pool.size) for pool in shown.pools] == [
        ("10.99.0.0/24", 2, "253"),
        ("fd99::/64", 2, str(2**64 - 2)),
    ]
    assert dict(shown.phases) == {"Attached": 2}
    counters = shown.counters
    assert (counters.passes, dict(counters.repairs), counters.retries) == (7, {"route": 3}, 1)
    assert (counters.resyncs, counters.events, counters.lost_events) == (2, 40, 0)
    assert (shown.queue_length, shown.queue_age_s, shown.last_slice_at) == (1, 0.25, 1_700_000_100.0)
    assert (shown.ready, shown.version, shown.started_at) == (True, "1.2.3", 1_700_000_000.0)
