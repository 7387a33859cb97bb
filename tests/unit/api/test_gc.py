"""`netplumb gc`: what is said of the living, word for word, and that saying nothing is a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from netplumb.api import wishes
from netplumb.api.cli.commands import register
from netplumb.api.cli.exits import Exit
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models import errors
from netplumb.models.attachment import AttachmentKey
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import served

Collect = Callable[..., Result]


@pytest.fixture
def collect(workloads: FakeWorkloads, socket_path: Path) -> Iterator[Collect]:
    app = typer.Typer()
    register(app)

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, ("gc", *arguments), input=stdin, env={"NETPLUMB_SOCKET": str(socket_path)})

    with capture_logs(), served(workloads, socket_path):
        yield run


C1, C2_NET1 = AttachmentKey("c1", "eth0"), AttachmentKey("c2", "net1")


@pytest.mark.parametrize(
    ("arguments", "stdin", "alive"),
    [
        (["--alive", "c1", "--alive", "c2/net1"], "", {C1, C2_NET1}),
        (["--alive-file", "-"], "c1\n\n  c2/net1  \n", {C1, C2_NET1}),
        (["--alive", "c1", "--alive-file", "-"], "c2/net1", {C1, C2_NET1}),
        (["--alive", "ns/pod/eth0"], "", {AttachmentKey("ns/pod", "eth0")}),
        (["--none"], "", set()),
    ],
)
def test_who_lives_reaches_the_daemon(
    collect: Collect, workloads: FakeWorkloads, arguments: list[str], stdin: str, alive: set[AttachmentKey]
) -> None:
    result = collect("--source", "cni/pods", *arguments, stdin=stdin)
    assert (result.exit_code, result.output) == (0, "nothing to detach\n")
    assert workloads.collected == ("cni/pods", alive)


def test_a_container_lives_with_all_its_interfaces(collect: Collect, workloads: FakeWorkloads) -> None:
    """Told by its id alone it keeps those that it has; told by one of them it keeps that one."""
    workloads.views = {it.key: it for name in ("eth0", "net1") for it in (view("web-1", name), view("web-2", name))}
    assert collect("--source", "rpc", "--alive", "web-1", "--alive", "web-2/net1").exit_code == 0
    assert set(workloads.views) == {
        AttachmentKey("web-1", "eth0"),
        AttachmentKey("web-1", "net1"),
        AttachmentKey("web-2", "net1"),
    }


def test_a_file_is_read(collect: Collect, workloads: FakeWorkloads, tmp_path: Path) -> None:
    (tmp_path / "alive").write_text("c1\n")
    assert collect("--source", "rpc", "--alive-file", str(tmp_path / "alive")).exit_code == 0
    assert workloads.collected == ("rpc", {C1})


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["--source", "rpc"], ""),
        (["--source", "rpc", "--alive-file", "-"], ""),
        (["--source", "rpc", "--alive-file", "-"], "\n \n"),
        (["--source", "rpc", "--alive-file", "/nowhere"], ""),
        (["--source", "rpc", "--none", "--alive", "c1"], ""),
        (["--source", "rpc", "--none", "--alive-file", "-"], ""),
        (["--source", "rpc", "--alive", ""], ""),
        (["--source", "rpc", "--alive", "/eth0"], ""),
        (["--source", "rpc", "--alive", "c1/"], ""),
        (["--none"], ""),
        (["--source", "file/web.yaml", "--none"], ""),
        (["--source", "cni/", "--none"], ""),
    ],
)
def test_what_is_not_said_in_full_collects_nothing(
    collect: Collect, workloads: FakeWorkloads, arguments: list[str], stdin: str
) -> None:
    """No list, an empty one from a command that failed, both at once, no source, or one that cannot be collected."""
    result = collect(*arguments, stdin=stdin)
    assert result.exit_code == Exit.USAGE
    assert workloads.collected is None
    assert "Traceback" not in result.output


def test_help_tells_how_to_say_it(collect: Collect) -> None:
    result = collect("--help")
    assert result.exit_code == 0
    for words in ("--none", "--alive-file", "/IF_NAME", "stdin"):
        assert words in result.output


def test_what_was_detached_is_shown(collect: Collect, workloads: FakeWorkloads) -> None:
    result = collect("--source", "rpc", "--alive", "other")
    assert (result.exit_code, result.output) == (0, "detached web-1/eth0: 10.99.0.2 fd99::2\n")
    assert workloads.views == {}


def test_as_json_it_is_a_list_of_attachments(collect: Collect, workloads: FakeWorkloads) -> None:
    workloads.views = {it.key: it for it in (view("web-1"), view("web-2"))}
    found = json.loads(collect("--source", "rpc", "--none", "-o", "json").output)
    assert [it["workload_id"] for it in found] == ["web-1", "web-2"]
    assert json.loads(collect("--source", "rpc", "--none", "-o", "json").output) == []


def test_a_removal_that_takes_too_long_exits_6(collect: Collect, workloads: FakeWorkloads) -> None:
    workloads.error = errors.NotConverged("not detached")
    assert collect("--source", "rpc", "--none").exit_code == Exit.TIMEOUT


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.GCRequest(source="rpc"), "alive: is missing"),
        (pb.GCRequest(source="file/web.yaml", alive=pb.GCRequest.Alive()), "source: 'file/web.yaml' is neither"),
        (pb.GCRequest(source="rebuilt", alive=pb.GCRequest.Alive()), "source: 'rebuilt' is neither"),
        (pb.GCRequest(source="cni/", alive=pb.GCRequest.Alive()), "source: 'cni/' is neither"),
        (
            pb.GCRequest(alive=pb.GCRequest.Alive(interfaces=[pb.GCRequest.Interface(if_name="eth0")])),
            r"alive\.interfaces\[0\]\.container_id: must not be empty",
        ),
    ],
)
def test_a_request_that_does_not_say_it_all_is_refused(request_: pb.GCRequest, words: str) -> None:
    """A client that left the list or an id out by mistake must not have everything detached."""
    with pytest.raises(errors.InvalidRequest, match=words):
        wishes.gc_request(request_)


def test_an_empty_list_is_a_list() -> None:
    """It is said explicitly, and means that nothing lives; no source means rpc, no interface eth0."""
    assert wishes.gc_request(pb.GCRequest(alive=pb.GCRequest.Alive())) == ("rpc", frozenset())
    one = pb.GCRequest.Alive(interfaces=[pb.GCRequest.Interface(container_id="c1")])
    assert wishes.gc_request(pb.GCRequest(source="cni/pods", alive=one)) == ("cni/pods", frozenset({C1}))


def test_a_dry_run_shows_what_would_go(collect: Collect, workloads: FakeWorkloads) -> None:
    """And takes nothing away."""
    assert collect("--source", "rpc", "--none", "--dry-run").output.startswith("would detach web-1/eth0")
    (it,) = json.loads(collect("--source", "rpc", "--none", "--dry-run", "-o", "json").output)
    assert it["workload_id"] == "web-1"
    assert list(workloads.views) == [AttachmentKey("web-1", "eth0")]


def test_the_beginning_of_a_made_id_keeps_its_container_alive(collect: Collect, workloads: FakeWorkloads) -> None:
    """Runtimes list ids cut short; a name that people gave keeps no other alive."""
    pod = "3f1e9a7c52d44f0e9d310a1b2c3d4e5f"
    workloads.views = {it.key: it for it in (view(pod), view(pod, "net1"), view("web-10"))}
    result = collect("--source", "rpc", "--alive", "3f1e9a7c52d4", "--alive", "web-1")
    assert result.exit_code == 0
    assert "detached web-10/eth0" in result.output
    assert set(workloads.views) == {AttachmentKey(pod, "eth0"), AttachmentKey(pod, "net1")}
