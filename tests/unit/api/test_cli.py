"""The client commands against a server over fake workloads, which runs beside them in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from netplumb.api.cli import options
from netplumb.api.cli.call import HOW_TO_START
from netplumb.api.cli.commands import register
from netplumb.api.cli.exits import Exit
from netplumb.api.server.server import serve
from netplumb.models import errors
from netplumb.models.attachment import NETNS_DIR, AttachmentKey, AttachmentSpec, DetachSpec, NetnsRef
from netplumb.models.naming import node_if_name
from netplumb.models.statefile import StateFile
from netplumb.models.status import AttachmentStatus, Condition, Phase, PlannedChange
from tests.unit.api.fake import FakeWorkloads, claim_of, view

DIFFERENCES = (
    PlannedChange(None, "+", "sysctl", "sysctl net.ipv4.ip_forward = 1"),
    PlannedChange(AttachmentKey("web-1", "eth0"), "-", "route", "route 10.99.0.2/32 dev np0 proto netplumb"),
    PlannedChange(AttachmentKey("web-1", "eth0"), "~", "link", "link np0 veth (was mtu 1400)"),
)
NETPLUMB = "import typer; from netplumb.api.cli.commands import register; app = typer.Typer(); register(app); app()"

Netplumb = Callable[..., Result]


@contextmanager
def served(workloads: FakeWorkloads, socket_path: Path) -> Iterator[None]:
    """A daemon's place is another process; a thread with its own loop is near enough."""
    ready, done = Event(), Event()

    async def run() -> None:
        server = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: True)
        ready.set()
        await asyncio.to_thread(done.wait)
        await server.stop(0)

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def netplumb(workloads: FakeWorkloads, socket_path: Path) -> Iterator[Netplumb]:
    app = typer.Typer()
    register(app)

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, arguments, input=stdin, env={"NETPLUMB_SOCKET": str(socket_path)})

    # The daemon's log would land in the command's output, as both are one process here.
    with capture_logs(), served(workloads, socket_path):
        yield run


def test_attach_says_all_that_it_can(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """Every flag reaches the daemon; the addresses are printed one a line."""
    result = netplumb(
        *("attach", "web-2", "--netns", "/run/netns/web-2", "--if-name", "net1", "--address", "10.0.0.5"),
        *("--address", "fd00::5", "--label", "app=web", "--label", "a=b=c", "--mtu", "1400"),
        *("--mac", "02:00:5e:10:00:01", "--container-id", "c1", "--pool", "dmz", "--route", "192.0.2.0/24"),
        *("--no-default-route", "--isolate-node", "--no-isolate-workloads", "--sysctl", "net.core.somaxconn=64"),
        *("--port", "127.0.0.1:8080:80", "--port", "5000-5009:6000/udp", "--ingress-rate", "100M"),
        *("--egress-rate", "1.5G", "--egress-burst", "80k", "--dns-server", "fd00::53", "--dns-search", "a.example"),
        *("--dns-option", "ndots:2", "--annotation", "a/b=c"),
    )
    assert (result.exit_code, result.stdout) == (0, "10.0.0.5\nfd00::5\n")
    assert workloads.asked == [
        AttachmentSpec.model_validate(
            {
                "workload_id": "web-2",
                "netns": {"path": "/run/netns/web-2"},
                "if_name": "net1",
                "addresses": ["10.0.0.5", "fd00::5"],
                "labels": {"app": "web", "a": "b=c"},
                "mtu": 1400,
                "mac": "02:00:5e:10:00:01",
                "container_id": "c1",
                "pool": "dmz",
                "routes": [{"dst": "192.0.2.0/24"}],
                "default_route": False,
                "isolate_node": True,
                "isolate_workloads": False,
                "sysctls": {"net.core.somaxconn": "64"},
                "port_mappings": ["127.0.0.1:8080:80", "5000-5009:6000/udp"],
                "bandwidth": {"ingress_rate": "100M", "egress_rate": "1.5G", "egress_burst": "80k"},
                "dns": {"servers": ["fd00::53"], "searches": ["a.example"], "options": ["ndots:2"]},
                "annotations": {"a/b": "c"},
            }
        )
    ]


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--port", "eighty", "'eighty' is not like 8080:80"),
        ("--port", "1-5:1-4", "the two ranges differ in length"),
        ("--ingress-rate", "fast", "'fast' is not a number of bits"),
        ("--egress-burst", "1M", "is given without egress_rate"),
        ("--label", "app", "'app' is not KEY=VALUE"),
        ("--sysctl", "=1", "'=1' is not KEY=VALUE"),
    ],
)
def test_a_wrong_value_is_refused_before_the_daemon_is_asked(
    netplumb: Netplumb, workloads: FakeWorkloads, flag: str, value: str, said: str
) -> None:
    """The message names the flag and shows how it is written."""
    result = netplumb("attach", "web-2", "--netns", "blue", flag, value)
    assert result.exit_code == 2
    assert said in result.stderr
    assert workloads.asked == []


def test_a_bare_namespace_name_is_one_of_ip_netns(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    assert netplumb("attach", "web-2", "--netns", "blue").exit_code == 0
    assert isinstance(asked := workloads.asked[0], AttachmentSpec)
    assert asked.netns == NetnsRef(path=f"{NETNS_DIR}/blue")
    assert options.NETNS_DIR == NETNS_DIR


def test_detach_is_silent(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    result = netplumb("detach", "web-1", "--container-id", "c1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert workloads.asked == [DetachSpec(workload_id="web-1", container_id="c1")]


@pytest.mark.parametrize("command", [["get"], ["check"], ["plan", "detach"], ["describe"]], ids=" ".join)
def test_a_key_is_taken_as_it_is_printed(netplumb: Netplumb, workloads: FakeWorkloads, command: list[str]) -> None:
    """By every command, and the beginning of an id as well."""
    pod = "3f1e9a7c-52d4-4f0e-9d31-0a1b2c3d4e5f"
    workloads.views = {it.key: it for it in (view("web-1", "net1"), view("web-1"), view(pod, "net1"))}
    for word in ("web-1/net1", "3f1e9/net1"):
        result = netplumb(*command, word)
        assert result.exit_code == 0, result.output
        if command[0] != "plan":
            assert "net1" in result.stdout
    assert netplumb("get", "web-2").stderr == "netplumb: no attachment web-2/eth0\n"
    assert netplumb("get", pod).stderr == f"netplumb: no attachment {pod}/eth0; there is {pod}/net1\n"
    assert netplumb("get", pod).exit_code == Exit.NOT_FOUND


def test_detach_takes_a_key_and_says_what_else_is_there(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """What is not there is as good as detached; where the workload has another interface, that is told."""
    workloads.views = {it.key: it for it in (view("web-1", "net1"), view("web-10"))}
    result = netplumb("detach", "web-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "netplumb: nothing was detached: no attachment web-1/eth0; there is web-1/net1\n"
    assert netplumb("detach", "db").output == ""
    assert workloads.asked == []
    assert netplumb("detach", "web-1/net1").output == ""
    assert workloads.asked == [DetachSpec(workload_id="web-1", if_name="net1")]
    result = netplumb("detach", "web-1")
    assert "there is web-10/eth0" in result.stderr
    assert len(workloads.asked) == 1


def test_attach_takes_a_key(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """What is behind the last slash is the interface, unless there is a workload with that id, or it is named."""
    assert netplumb("attach", "web-2/net1", "--netns", "blue").exit_code == 0
    assert netplumb("attach", "ns/web-3", "--netns", "blue", "--if-name", "eth0").exit_code == 0
    assert netplumb("attach", "ns/web-3", "--netns", "blue").exit_code == 0
    asked = [str(it.key) for it in workloads.asked if isinstance(it, AttachmentSpec)]
    assert asked == ["web-2/net1", "ns/web-3/eth0", "ns/web-3/eth0"]


def test_a_table_that_is_piped_has_neither_boxes_nor_colour(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    workloads.views = {it.key: it for it in (view("web-1"), view("w" * 200))}
    lines = netplumb("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["WORKLOAD", "INTERFACE", "PHASE", "ADDRESSES", "SOURCE", "NODE", "INTERFACE", "NETNS"],
        *(
            [id_, "eth0", phase, "10.99.0.2", "fd99::2", "rpc", node_if_name(AttachmentKey(id_, "eth0")), path]
            for id_, phase, path in (
                ("web-1", "Attached", "/run/netns/web-1"),
                ("w" * 200, "Attached", f"/run/netns/{'w' * 200}"),
            )
        ),
    ]


def test_list_as_json_has_the_names_of_the_proto(netplumb: Netplumb) -> None:
    """Numbers are numbers, and fields that hold nothing are there all the same."""
    (it,) = json.loads(netplumb("list", "-o", "json").stdout)
    assert it["workload_id"] == "web-1"
    assert it["addresses"] == ["10.99.0.2", "fd99::2"]
    assert it["labels"] == {"app": "web"}
    assert it["generation"] == 1
    assert it["container_id"] == ""
    assert it["conditions"] == []


def test_attach_as_json_has_addresses_as_text(netplumb: Netplumb) -> None:
    answer = json.loads(netplumb("attach", "web-2", "--netns", "blue", "-o", "json").stdout)
    assert answer["ip"] == ["10.99.0.2", "fd99::2"]
    assert answer["attachment"]["workload_id"] == "web-2"


@pytest.mark.parametrize(
    "command", [["list"], ["get", "web-1"], ["check"], ["check", "web-1"], ["plan"], ["status"]], ids=" ".join
)
def test_yaml_and_json_say_the_same(netplumb: Netplumb, command: list[str]) -> None:
    as_json, as_yaml = (netplumb(*command, "-o", output).stdout for output in ("json", "yaml"))
    assert YAML(typ="safe", pure=True).load(as_yaml) == json.loads(as_json)


def test_get_shows_every_field(netplumb: Netplumb) -> None:
    text = netplumb("get", "web-1").stdout
    for words in ("web-1", "eth0", "Attached", "10.99.0.2 fd99::2", "app=web", "1, observed 1"):
        assert words in text


def test_status_shows_pools_and_counters(netplumb: Netplumb) -> None:
    text = netplumb("status").stdout
    for words in ("1.2.3", "2 Attached", "3 route", "fd99::/64", str(2**64 - 2), "1 waiting, the oldest for 0.250 s"):
        assert words in text


def test_check_in_sync_exits_0(netplumb: Netplumb) -> None:
    result = netplumb("check")
    assert (result.exit_code, result.stdout) == (0, "node: in sync\nweb-1/eth0: in sync\n")


FAILED = Condition("Ready", False, "Conflict", "another interface named eth0 is there")
FIGHTING = Condition("Fighting", True, "KeepsChanging", "route 10.99.0.2/32 was repaired 12 times")


@pytest.mark.parametrize(
    ("phase", "conditions", "reason"),
    [
        (Phase.FAILED, (FAILED,), "Conflict: another interface named eth0 is there"),
        (Phase.PENDING, (), "Pending: no pass over it has ended yet"),
        (Phase.ATTACHED, (Condition("Ready", True), FIGHTING), "Fighting: route 10.99.0.2/32 was repaired 12 times"),
    ],
    ids=["Failed", "Pending", "Fighting"],
)
def test_every_view_gives_the_same_reason(
    netplumb: Netplumb, workloads: FakeWorkloads, phase: Phase, conditions: tuple[Condition, ...], reason: str
) -> None:
    """Of an attachment that is not as wished, though nothing differs that could be changed."""
    it = view("web-1")
    workloads.views = {it.key: replace(it, status=AttachmentStatus(phase, conditions=conditions))}
    for command in (["list"], ["get", "web-1"], ["check"], ["check", "web-1"], ["plan"], ["status"]):
        result = netplumb(*command)
        assert reason in result.stdout, command
        assert "web-1/eth0: in sync" not in result.stdout, command
        assert "nothing to change" not in result.stdout, command
        assert result.exit_code == (Exit.FAILED if "check" in command else Exit.OK)


@pytest.mark.parametrize("command", [["check"], ["check", "web-1"]], ids=" ".join)
def test_check_out_of_sync_exits_1_and_shows_a_diff(
    netplumb: Netplumb, workloads: FakeWorkloads, command: list[str]
) -> None:
    workloads.differences = DIFFERENCES
    result = netplumb(*command)
    node = ["node:", "+ sysctl net.ipv4.ip_forward = 1"] if len(command) == 1 else []
    assert (result.exit_code, result.stdout.splitlines()) == (
        Exit.FAILED,
        [*node, "web-1/eth0:", "- route 10.99.0.2/32 dev np0 proto netplumb", "~ link np0 veth (was mtu 1400)"],
    )


def test_status_is_shown_without_pools(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """What is attached needs none, and who looks wants to see it."""
    workloads.pools = False
    result = netplumb("status")
    assert result.exit_code == 0
    assert "none, so that each attachment has to state its addresses" in result.stdout


def test_plan_as_json_tells_what_no_change_would_mend(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """An empty list of changes alone would look like in sync."""
    it = view("web-1")
    workloads.views = {it.key: replace(it, status=AttachmentStatus(Phase.FAILED, conditions=(FAILED,)))}
    made = json.loads(netplumb("plan", "-o", "json").stdout)
    assert made["changes"] == []
    assert [(it["workload_id"], it["reason"]) for it in made["unmet"]] == [("web-1", "Conflict")]


def test_plan_shows_the_node_and_each_attachment_and_exits_0(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    assert netplumb("plan").stdout == "nothing to change\n"
    workloads.differences = DIFFERENCES
    result = netplumb("plan")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == ["node:", "+ sysctl net.ipv4.ip_forward = 1", "web-1/eth0:"]


def test_plan_for_an_attach_or_a_detach(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    assert netplumb("plan", "attach", "web-2", "--netns", "blue").exit_code == 0
    assert netplumb("plan", "detach", "web-1").exit_code == 0
    assert [
        (type(it), it.key.workload_id) for it in workloads.asked if isinstance(it, AttachmentSpec | DetachSpec)
    ] == [
        (AttachmentSpec, "web-2"),
        (DetachSpec, "web-1"),
    ]


def test_plan_for_files(netplumb: Netplumb, workloads: FakeWorkloads, tmp_path: Path) -> None:
    """By their names, those of a directory, or with the name that one is to have."""
    for name in ("b.yaml", "a.json", "notes.txt", ".a.yaml.swp"):
        (tmp_path / name).write_text(name)
    a, b = StateFile("a.json", b"a.json"), StateFile("b.yaml", b"b.yaml")
    for words in (
        ("-f", str(tmp_path)),
        ("-f", str(tmp_path / "a.json"), "--file", str(tmp_path / "b.yaml")),
        ("-f", str(tmp_path / "notes.txt"), "--as", "c.yaml"),
    ):
        assert netplumb("plan", *words).exit_code == 0
    assert workloads.asked == [(a, b), (a, b), (StateFile("c.yaml", b"notes.txt"),)]


def test_plan_for_stdin(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    for words, name in ((("plan", "-f", "-"), "stdin.yaml"), (("plan", "-f", "-", "--as", "w.yaml"), "w.yaml")):
        assert netplumb(*words, stdin="kind: x").exit_code == 0
        assert workloads.asked.pop() == (StateFile(name, b"kind: x"),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-f", "/absent.yaml"), "/absent.yaml: No such file or directory"),
        (("-f", "/proc/self/mem"), "/proc/self/mem: Input/output error"),
        (("-f", "/proc/self/fdinfo"), "holds no files that end in .yaml"),
        (("-f", "/dev/null", "-f", "/dev/null", "--as", "a.yaml"), "names one file, and there are 2"),
        (("--as", "a.yaml"), "names the file of -f, which is missing"),
        (("-f", "/dev/null", "detach", "web-1"), "means files, and detach a wish"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(
    netplumb: Netplumb, workloads: FakeWorkloads, words: tuple[str, ...], said: str
) -> None:
    result = netplumb("plan", *words)
    assert (result.exit_code, workloads.asked) == (2, [])
    assert said in result.stderr


def test_more_files_than_a_request_holds_are_refused(
    netplumb: Netplumb, workloads: FakeWorkloads, tmp_path: Path
) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("#" * (1 << 19))
    result = netplumb("plan", "-f", str(tmp_path))
    assert (result.exit_code, workloads.asked) == (2, [])
    assert "holds more than a request may" in result.stderr
    assert netplumb("plan", "-f", str(tmp_path / "a.yaml")).exit_code == 0


def test_plan_for_files_exits_1_where_a_part_would_be_refused(netplumb: Netplumb, workloads: FakeWorkloads) -> None:
    """Not for what is only missing yet, such as a namespace."""
    assert netplumb("plan", "-f", "-", stdin="x").exit_code == 0
    workloads.claims = [claim_of(view("web-1"), "file/stdin.yaml")]
    result = netplumb("plan", "-f", "-", stdin="x")
    assert result.exit_code == 1
    assert "! AlreadyHeld: attachment web-1/eth0 is held by rpc" in result.stdout


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.InvalidRequest("mtu", "no"), Exit.USAGE),
        (errors.NotReady("no"), Exit.UNAVAILABLE),
        (errors.NotFound("no"), Exit.NOT_FOUND),
        (errors.AlreadyHeld("no"), Exit.HELD),
        (errors.NotConverged("no"), Exit.TIMEOUT),
        (errors.PoolExhausted("no"), Exit.FAILED),
        (RuntimeError("no"), Exit.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_line_and_an_exit_code(
    netplumb: Netplumb, workloads: FakeWorkloads, error: Exception, exit_code: Exit
) -> None:
    workloads.error = error
    result = netplumb("get", "web-1")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.startswith("netplumb: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--netns", "x", "--label", "app"], [], ["--netns", "x", "--mtu", "many"]])
def test_wrong_usage_exits_2(netplumb: Netplumb, arguments: list[str]) -> None:
    result = netplumb("attach", "web-2", *arguments)
    assert result.exit_code == Exit.USAGE
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("wait", [False, True])
def test_no_daemon_exits_3(socket_path: Path, wait: bool) -> None:
    """At once, with what starts one; who waits for one is told when that was in vain."""
    app = typer.Typer()
    register(app)
    patience = ["--wait", "--timeout", "0.05"] if wait else ["--timeout", "3600"]
    result = CliRunner().invoke(app, ["list", "--socket", str(socket_path), *patience])
    assert result.exit_code == Exit.UNAVAILABLE
    why = f"netplumb: no daemon answers on {socket_path}: No such file or directory"
    assert result.stderr == (f"{why}\n" if wait else f"{why}; {HOW_TO_START}\n")


@pytest.mark.parametrize("command", ["attach", "detach", "get", "list", "watch", "check", "plan", "status"])
def test_every_help_tells_the_exit_codes(netplumb: Netplumb, command: str) -> None:
    assert "Exit codes: 0 done" in netplumb(command, "--help").stdout


async def _netplumb(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NETPLUMB, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


async def test_help_loads_neither_grpc_nor_pydantic() -> None:
    """It answers at once."""
    code = (
        "import sys, netplumb.api.cli.commands as commands, typer; commands.register(typer.Typer());"
        "print(sorted({'grpc', 'pydantic', 'google.protobuf'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await process.communicate()
    assert stdout == b"[]\n"


async def test_watch_prints_an_object_a_line_until_interrupted(server: object, socket_path: Path) -> None:
    """Ctrl-C is how a watch ends, so it is no failure."""
    process = await _netplumb("watch", "-o", "json", "--socket", str(socket_path), PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    events: list[dict[str, Any]] = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert [it["change"] for it in events] == ["PRESENT", "SNAPSHOT_COMPLETE"]
    assert events[0]["attachment"]["workload_id"] == "web-1"
    assert events[1]["attachment"] is None
    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")


async def test_watch_prints_lines_as_they_come(server: object, socket_path: Path) -> None:
    """Also into a pipe, without waiting for its buffer to fill."""
    process = await _netplumb("watch", "--socket", str(socket_path))
    assert process.stdout is not None
    lines = [(await asyncio.wait_for(process.stdout.readline(), 20)).decode() for _ in range(2)]
    assert lines == ["PRESENT web-1/eth0 Attached 10.99.0.2 fd99::2\n", "SNAPSHOT_COMPLETE\n"]
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
async def test_colour_follows_no_color(
    workloads: FakeWorkloads, server: object, socket_path: Path, no_color: str, coloured: bool
) -> None:
    """On what passes for a terminal, unless NO_COLOR says otherwise."""
    workloads.differences = DIFFERENCES
    environment = {"FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": no_color}
    process = await _netplumb("plan", "--socket", str(socket_path), **environment)
    stdout, _ = await process.communicate()
    assert (b"\x1b[32m+ sysctl" in stdout) is coloured
    assert (b"\x1b[31m- route" in stdout) is coloured
