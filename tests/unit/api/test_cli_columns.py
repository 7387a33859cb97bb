"""What commands answer on a terminal of 80 columns: no line is longer, and no word is broken over two."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netplumb.models.attachment import AttachmentSpec, NetnsRef
from netplumb.models.errors import AlreadyHeld, NotConverged
from netplumb.models.events import Event, EventKind
from netplumb.models.kernel import Scope
from netplumb.models.status import Condition, DescribedObject, Phase, PlannedChange
from tests.unit.api.fake import FakeWorkloads, claim_of, view, view_of
from tests.unit.api.test_cli import Netplumb, netplumb

__all__ = ["netplumb"]

POD = "7c1b5f0e-2f0a-4d7e-9c60-3a6a1d5a4b11"
SPEC = AttachmentSpec.model_validate(
    {
        "workload_id": POD,
        "netns": NetnsRef(path="/var/run/netns/cni-5c2f7b7a-6f0c-8a53-5d8b-0f2f6f0b7a90"),
        "container_id": "4f1c22" * 10,
        "labels": {f"example.org/label-{n}": f"value-{n}" for n in range(6)},
        "port_mappings": ["8080:80", "[fd00::7]:5000-5009:6000-6009/udp"],
        "sysctls": {"net.ipv4.tcp_keepalive_time": "600", "net.core.somaxconn": "4096"},
        "bandwidth": {"ingress_rate": "100M", "egress_rate": "20M"},
        "dns": {"servers": ["192.0.2.53", "2001:db8::53"], "searches": ["cluster.local", "svc.cluster.local"]},
    }
)
WHY = "eth0 exists in the workload and is not netplumb's; remove it, or choose another name"
LINK = "link npxcylump7q2sj veth peer eth1 address 02:9c:52:fe:6d:0a mtu 1500 group 28272 alias 'netplumb:eth1:job'"
ROUTE = "route fd13::5/128 dev npxcylump7q2sj proto netplumb src fd13::1 metric 16 (was metric 1024)"
STEP = "route 10.99.0.2/32 dev np7477lkuvnjvk: ENODEV (No such device)"
CHANGES = tuple(PlannedChange(SPEC.key, verb, "link", words) for verb, words in (("+", LINK), ("~", ROUTE)))


@pytest.fixture(autouse=True)
def _full_of_words(workloads: FakeWorkloads) -> None:
    pod = view_of(SPEC, Phase.RETRYING)
    pod = replace(pod, status=replace(pod.status, conditions=(Condition("Ready", False, "Conflict", WHY),)))
    workloads.views = {it.key: it for it in (pod, view("web-1"))}
    workloads.claims = [claim_of(pod, "file/a-file-with-a-rather-long-name.yaml")]
    workloads.differences = CHANGES
    workloads.objects = (DescribedObject(Scope.NODE, "route", ROUTE, "is missing"),)
    repaired = Event(EventKind.REPAIRED, SPEC.key, "1 object put right", (ROUTE,), ("added",), number=1, at=1e9)
    workloads.happened = [repaired]
    workloads.changes.put_nowait(None)


def words(text: str) -> set[str]:
    return set(text.split())


def check(narrow: str, wide: str) -> None:
    assert narrow
    assert words(wide) <= words(narrow)
    for line in narrow.splitlines():
        assert len(line) <= 80 or len(line.split()) == 1, line


@pytest.mark.parametrize(
    "command",
    [
        "list",
        f"get {POD}",
        "status",
        "check",
        f"check {POD}",
        "plan",
        f"plan attach {POD} --netns blue",
        "watch",
        "events",
        f"describe {POD}",
        "gc --source rpc --alive other",
    ],
)
def test_an_answer_fits(
    netplumb: Netplumb, monkeypatch: pytest.MonkeyPatch, workloads: FakeWorkloads, command: str
) -> None:
    views = dict(workloads.views)
    wide = netplumb(*command.split())
    workloads.views = views
    workloads.changes.put_nowait(None)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = netplumb(*command.split())
    assert narrow.exit_code == wide.exit_code
    check(narrow.stdout, wide.stdout)
    if wide.stderr:
        check(narrow.stderr, wide.stderr)


@pytest.mark.parametrize(
    "error",
    [
        AlreadyHeld(f"port_mappings: tcp port 8080 (IPv4) is held by attachment {POD}/eth0 and leads to its port 80"),
        NotConverged(f"{STEP}; {POD}/eth0 is tried again until Detach"),
    ],
)
def test_an_error_fits(
    netplumb: Netplumb, monkeypatch: pytest.MonkeyPatch, workloads: FakeWorkloads, error: Exception
) -> None:
    workloads.error = error
    wide = netplumb("attach", "db-1", "--netns", "db-1")
    monkeypatch.setenv("COLUMNS", "80")
    check(netplumb("attach", "db-1", "--netns", "db-1").stderr, wide.stderr)


def test_what_is_piped_is_a_line_for_each_row(netplumb: Netplumb) -> None:
    assert len(netplumb("list").stdout.splitlines()) == 4
