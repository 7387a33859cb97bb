"""`netplumb wait`: when what is waited for has come."""

from __future__ import annotations

import pytest

from netplumb.api.cli.keys import Key
from netplumb.api.cli.waiting import Waiting
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.status import Phase
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import Netplumb, netplumb

__all__ = ["netplumb"]

COMPLETE = pb.WatchResponse(change=pb.WatchResponse.SNAPSHOT_COMPLETE)
WEB, DB = Key("web", "eth0"), Key("db", "eth0")


def told(
    key: Key,
    phase: str = "Attached",
    generation: int = 1,
    change: pb.WatchResponse.Change.ValueType = pb.WatchResponse.UPDATED,
) -> pb.WatchResponse:
    it = pb.Attachment(
        workload_id=key.workload_id,
        if_name=key.if_name,
        phase=phase,
        generation=generation,
        observed_generation=1 if generation else 0,
    )
    return pb.WatchResponse(change=change, attachment=it)


def gone(key: Key, generation: int = 1) -> pb.WatchResponse:
    return told(key, generation=generation, change=pb.WatchResponse.REMOVED)


def over(waiting: Waiting, *messages: pb.WatchResponse) -> bool:
    return [waiting.over(message) for message in messages][-1]


def test_what_is_named_is_waited_for_until_it_comes() -> None:
    waiting = Waiting([WEB], gone=False)
    assert not over(waiting, told(DB), COMPLETE)
    assert waiting.missing == "web/eth0 is not there"
    assert not over(waiting, told(WEB, "Pending"))
    assert over(waiting, told(WEB))


def test_a_newer_wish_is_waited_for() -> None:
    """Attached as it was before is not attached as it is wished."""
    assert not over(Waiting([WEB], gone=False), told(WEB, generation=2), COMPLETE)


def test_all_of_them_have_to_be_there() -> None:
    waiting = Waiting([], gone=False)
    assert not over(waiting, told(WEB), told(DB, "Retrying"), COMPLETE)
    assert waiting.missing == "db/eth0 is Retrying"
    assert over(waiting, told(DB))
    assert waiting.met == [WEB, DB]


def test_one_that_goes_meanwhile_is_no_more_among_all() -> None:
    assert over(Waiting([], gone=False), told(WEB), told(DB, "Pending"), COMPLETE, gone(DB))


def test_gone_is_gone_from_the_kernel() -> None:
    waiting = Waiting([WEB], gone=True)
    assert not over(waiting, told(WEB, "Detaching"), COMPLETE)
    assert over(waiting, gone(WEB))
    assert over(Waiting([WEB], gone=True), COMPLETE)


def test_a_claim_that_waits_for_the_key_hides_no_attachment() -> None:
    waiting = Waiting([WEB], gone=False)
    assert over(waiting, told(WEB), told(WEB, "Conflict", generation=0), COMPLETE)
    assert over(waiting, gone(WEB, generation=0))


def test_the_command_says_what_it_waited_for(netplumb: Netplumb) -> None:
    assert netplumb("wait", "--for", "attached", "web-1").stdout == "web-1/eth0 attached\n"
    assert netplumb("wait", "--for=delete", "nobody").stdout == "nobody/eth0 detached\n"
    assert netplumb("wait", "--all").stdout.splitlines()


@pytest.mark.parametrize("words", [(), ("web-1", "--all"), ("-l", "app=web", "--all")])
def test_what_is_waited_for_is_said_in_one_way(netplumb: Netplumb, words: tuple[str, ...]) -> None:
    assert netplumb("wait", *words).exit_code == 2


def test_time_that_is_up_is_told_with_what_is_missing(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    it = view("web-9", phase=Phase.RETRYING)
    workloads.views[it.key] = it
    result = netplumb("wait", "web-9", "--timeout", "0.1s")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "after 0.1 s: web-9/eth0 is Retrying" in result.stderr


def test_nothing_to_wait_for_is_told(netplumb: Netplumb) -> None:
    assert netplumb("wait", "-l", "app=none").exit_code == 4
    assert netplumb("wait", "-l", "app=none", "--for", "delete").exit_code == 0
