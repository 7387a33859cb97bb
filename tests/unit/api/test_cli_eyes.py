"""`netplumb events` and `netplumb describe` against a server over fake workloads."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import typer

from netplumb.api.cli.durations import duration_s
from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind
from netplumb.models.kernel import Scope
from netplumb.models.status import DescribedObject, PlannedChange
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import Netplumb, netplumb

__all__ = ["netplumb"]

WEB, DB = AttachmentKey("web-1", "eth0"), AttachmentKey("db", "eth0")
REPAIRED = Event(
    EventKind.REPAIRED,
    WEB,
    "2 objects put right",
    ("route 10.99.0.2/32 was missing", "and 9 more"),
    ("added", "and 9 more"),
    0.0042,
    number=2,
    at=1_700_000_000.5,
    first_at=1_699_999_000.0,
    count=3,
)
STARTED = Event(EventKind.STARTED, None, "netplumb 1.2.3", number=1, at=1_700_000_000.0)
ATTACHED = Event(EventKind.ATTACHED, DB, "10.99.0.3", number=3, at=1_700_000_001.0)


@pytest.fixture(autouse=True)
def _happened(workloads: FakeWorkloads) -> None:
    workloads.happened = [STARTED, REPAIRED, ATTACHED]


def test_events_are_lines_with_what_was_found_below(netplumb: Netplumb) -> None:
    """When, what, about whom, for how long, how often; then object by object."""
    lines = netplumb("events").stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("Started          node: netplumb 1.2.3")
    assert "Repaired         web-1/eth0: 2 objects put right, it had been so for 4.2 ms, 3 times since " in lines[1]
    assert lines[2:4] == ["    route 10.99.0.2/32 was missing: added", "    and 9 more"]
    assert lines[4].endswith("Attached         db/eth0: 10.99.0.3")


def test_what_is_known_at_most_says_so(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    workloads.happened = [Event(EventKind.REPAIRED, WEB, "1 object put right", lasted_s=29.0, at_most=True)]
    assert "it had been so for at most 29.0 s" in netplumb("events").stdout


def test_events_of_one_workload(netplumb: Netplumb) -> None:
    for about in ("db", "db/eth0"):
        (line,) = netplumb("events", about, "-o", "json").stdout.splitlines()
        told = json.loads(line)
        assert (told["kind"], told["workload_id"], told["lasted_s"]) == ("Attached", "db", None)


def test_events_of_nobody_exit_as_every_command_about_nobody_does(netplumb: Netplumb) -> None:
    result = netplumb("events", "nobody")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "netplumb: no attachment nobody\n")


def test_events_of_late(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """All of the fake's lie years back."""
    assert netplumb("events", "--since", "1h30m").stdout == ""


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5d", 129_600)])
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1h "])
def test_what_is_no_duration(text: str, netplumb: Netplumb) -> None:
    with pytest.raises(typer.BadParameter, match="no duration"):
        duration_s(text)
    assert netplumb("events", "--since", text).exit_code == 2


def test_describe_tells_all(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """The attachment, its objects on either side with how they stand, and its events without saying again whose."""
    workloads.objects = (
        DescribedObject(Scope.NODE, "link", "link np0 veth"),
        DescribedObject(Scope.WORKLOAD, "address", "address 10.99.0.2/32 dev eth0", "missing"),
    )
    workloads.differences = (PlannedChange(WEB, "+", "address", "address 10.99.0.2/32 dev eth0"),)
    said = netplumb("describe", "web-1").stdout
    assert "10.99.0.2 fd99::2" in said
    assert "in the kernel  differs" in said
    assert "on the node:\n  link np0 veth\n" in said
    assert "in the workload:\n  address 10.99.0.2/32 dev eth0  missing\n" in said
    assert "Repaired         2 objects put right" in said
    assert "10.99.0.3" not in said


def test_describe_of_several_interfaces_and_of_one(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """Without a name all of a workload's are described; an id may hold a slash itself."""
    for more in (view("web-1", "eth1"), view("a/b", "eth0")):
        workloads.views[more.key] = more

    def described(*words: str) -> list[tuple[str, str]]:
        told = json.loads(netplumb("describe", *words, "-o", "json").stdout)
        return [(it["attachment"]["workload_id"], it["attachment"]["if_name"]) for it in told]

    assert described("web-1") == [("web-1", "eth0"), ("web-1", "eth1")]
    assert described("web-1/eth1") == [("web-1", "eth1")]
    assert described("a/b") == described("a/b/eth0") == [("a/b", "eth0")]
    assert [netplumb("describe", *words).exit_code for words in (["nobody"], ["web-1/eth7"])] == [4, 4]


def test_describe_shows_so_many_events(netplumb: Netplumb) -> None:
    told = (json.loads(netplumb("describe", "web-1", "--events", n, "-o", "json").stdout) for n in ("0", "1"))
    assert [len(it["events"]) for it in chain.from_iterable(told)] == [0, 1]
