"""Traffic control objects in the real kernel: what is set reads back equal, whatever the rate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netplumb.models.bandwidth import Bandwidth, packet_bytes
from netplumb.models.kernel import Scope
from netplumb.models.tc import HANDLE, IngressQdisc, Redirect, Tbf, burst_ticks, queue_bytes
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request, attribute, text
from netplumb.reconciler.kernel.rtnetlink import decode, encodelinks, tc
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.netns.conftest import NodeNamespace

RATES = (8_000, 9_999, 64_000, 1_000_000, 12_345_678, 10**8, 10**9, 2_500_000_001, 10**10, 4 * 10**10, 10**11)


@pytest.fixture
def channel(node: NodeNamespace) -> Iterator[Channel]:
    with Channel() as channel:
        kinds = (("v0", "veth"), ("nq0", "ifb"))
        done(channel, [Request(rt.RTM_NEWLINK, rt.NLM_F_CREATE, _named(name, kind)) for name, kind in kinds])
        yield channel


def _named(name: str, kind: str) -> bytes:
    info = attribute(rt.IFLA_LINKINFO | rt.NLA_F_NESTED, text(rt.IFLA_INFO_KIND, kind))
    return encodelinks.link_header(0) + text(rt.IFLA_IFNAME, name) + info


def index(channel: Channel, name: str) -> int:
    (reply,) = channel.transact([encodelinks.get_link_by_name(name)])
    return decode.link(Scope.NODE, reply.parts[0][1])[0].index


def done(channel: Channel, requests: list[Request]) -> None:
    assert [(reply.errno, reply.words) for reply in channel.transact(requests)] == [(0, "")] * len(requests)


@pytest.mark.parametrize("rate_bits", RATES)
def test_a_token_bucket_reads_back_as_it_was_set(channel: Channel, rate_bits: int) -> None:
    """Bursts are rounded by the kernel, and rendering rounds as it does; a change is one request."""
    at = index(channel, "v0")
    for burst in (0, 1, 100_000):
        limits = Bandwidth(egress_rate=rate_bits, egress_burst=burst).capped(1500)
        rate, size = rate_bits // 8, limits.egress_burst // 8
        limit = min(queue_bytes(rate, packet_bytes(1500)) + size, 0xFFFFFFFF)
        wanted = Tbf("v0", rate, burst_ticks(size, rate), limit, burst_bytes=size)
        done(channel, tc.set_tbf(wanted, at))
        (reply,) = channel.transact([tc.get_qdisc(at, tc.TC_H_ROOT)])
        found = tc.qdisc(reply.parts[0][1], "v0")
        assert found == wanted
        assert isinstance(found, Tbf)
        assert found.handle == HANDLE
    done(channel, tc.delete_tbf(wanted, at))


def test_a_redirect_reads_back_and_goes(channel: Channel) -> None:
    """Only the filter of our preference is ours; one that leads elsewhere is seen as such."""
    at, ifb = index(channel, "v0"), index(channel, "nq0")

    def found(names: dict[int, str]) -> list[Redirect]:
        listed = channel.dump(rt.RTM_GETTFILTER, tc.dump_filters(at))
        return [it for _, body in listed if (it := tc.redirect(body, "v0", names)) is not None]

    done(channel, tc.add_ingress(at))
    (reply,) = channel.transact([tc.get_qdisc(at, tc.TC_H_INGRESS)])
    assert tc.qdisc(reply.parts[0][1], "v0") == IngressQdisc("v0")
    assert found({}) == []
    done(channel, tc.add_redirect(at, ifb))
    assert found({ifb: "nq0"}) == [Redirect("v0", "nq0")]
    assert found({}) == [Redirect("v0", "")]
    done(channel, tc.delete_redirect(at))
    assert found({ifb: "nq0"}) == []
    done(channel, tc.delete_ingress(at))
