"""What gRPC raises, in words for the person who reads them."""

from __future__ import annotations

import grpc
import pytest

from netplumb.reconciler.cluster.etcd.errors import EtcdError, Late, Refused, meaning

HTTP, HTTPS = "http://192.0.2.11:2379", "https://[2001:db8::11]:2379"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CONNECT = "failed to connect to all addresses; last error: UNKNOWN: ipv6:%5B2001:db8::11%5D:2379: "


def meant(endpoint: str, code: grpc.StatusCode, details: str, *, has_answered: bool = False) -> EtcdError:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    return meaning(error, endpoint, 3.0, has_answered=has_answered)


@pytest.mark.parametrize("details", ["Deadline Exceeded", "context deadline exceeded"])
def test_who_does_not_answer_is_told_with_the_time_that_it_had(details: str) -> None:
    error = meant(HTTP, grpc.StatusCode.DEADLINE_EXCEEDED, details)
    assert (type(error), str(error)) == (Late, f"{HTTP}: did not answer within 3 s")


@pytest.mark.parametrize(
    "said", ["Failed to connect to remote host: ", "connect failed: addr: ipv6:%5B2001:db8::11%5D:2379 error: "]
)
def test_who_cannot_be_reached_is_told_as_the_settings_have_it(said: str) -> None:
    error = meant(HTTPS, UNAVAILABLE, f"{CONNECT}{said}Network is unreachable")
    assert str(error) == f"{HTTPS}: cannot be reached: Network is unreachable"


@pytest.mark.parametrize("has_answered", [True, False])
def test_the_settings_are_doubted_only_where_nobody_ever_answered(*, has_answered: bool) -> None:
    """A member that answered, and is stopped, does not speak TLS all of a sudden."""
    error = meant(HTTP, UNAVAILABLE, "Stream removed (Socket closed)", has_answered=has_answered)
    assert str(error).startswith(f"{HTTP}: it hung up")
    assert ("where it speaks TLS" in str(error)) != has_answered


def test_an_etcd_that_is_full_refuses_and_is_not_away() -> None:
    """Another member would say the same, and a connection that is given up for it ends every watch."""
    error = meant(HTTP, grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
    assert isinstance(error, Refused)
    assert "compacted, defragmented and its alarm disarmed" in str(error)
