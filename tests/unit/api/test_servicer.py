"""The service over a real unix socket, with fake workloads behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError, Unavailable, Unreachable
from netplumb.api.errors import CODES, INTERNAL_MESSAGE, MESSAGE_MAX_BYTES, status_of
from netplumb.api.server import servicer
from netplumb.api.server.server import Server, serve
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc
from netplumb.models import errors
from netplumb.models.attachment import AttachmentSpec, DetachSpec
from netplumb.models.policyviews import Asked
from netplumb.models.statefile import Application, Applied, Result, StateFile
from netplumb.models.status import Change, PlannedChange, WatchEvent
from tests.unit.api.fake import FakeWorkloads, claim_of, view

ATTACH = pb.AttachRequest(workload_id="web-2", netns=pb.NetNSAttachment(netns_path="/run/netns/web-2"))
DETACH = pb.DetachRequest(workload_id="web-1", container_id="c1")


async def test_attach_and_detach(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """The wish arrives, the addresses come back packed, and the detached attachment is gone."""
    answer = await client.attach(ATTACH)
    assert list(answer.ip) == [bytes([10, 99, 0, 2]), bytes.fromhex("fd99" + "00" * 13 + "02")]
    assert answer.attachment.workload_id == "web-2"
    await client.detach(DETACH)
    assert isinstance(workloads.asked[0], AttachmentSpec)
    assert workloads.asked[1] == DetachSpec(workload_id="web-1", container_id="c1")
    assert [it.workload_id async for it in client.list()] == ["web-2"]


async def test_the_daemon_answers_ahead_of_the_clients_deadline(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """The wait ends a little early, so that the client reads the cause instead of only that time is up."""
    await client.attach(ATTACH, timeout_s=10.0)
    assert workloads.timeout_s is not None
    assert 9.0 < workloads.timeout_s <= 9.95


async def test_a_call_without_a_deadline_leaves_the_timeout_to_the_daemon(
    server: Server, socket_path: Path, workloads: FakeWorkloads
) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        await rpc.WorkloadNetworkingStub(channel).Attach(ATTACH)
    assert workloads.asked
    assert workloads.timeout_s is None


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", str(value)))
async def test_every_error_has_its_code(
    client: AsyncClient, workloads: FakeWorkloads, error: type[Exception], code: grpc.StatusCode
) -> None:
    """Each class of refusal and step error ends the call with one code, and with its own message."""
    workloads.error = error("field", "taken by web-9") if error is errors.InvalidRequest else error("taken by web-9")
    with pytest.raises(ClientError) as caught:
        await client.attach(ATTACH)
    assert caught.value.code is code
    assert caught.value.message == str(workloads.error)


def test_every_class_of_error_is_mapped() -> None:
    """A new refusal or step error cannot be forgotten."""
    for family in (errors.Refusal, errors.StepError):
        for cls in family.__subclasses__():
            assert any(base in CODES for base in cls.__mro__), cls


@pytest.mark.parametrize("ask", ["detach", "get", "list", "watch", "check", "plan", "status"])
async def test_every_call_answers_errors_with_their_code(
    client: AsyncClient, workloads: FakeWorkloads, ask: str
) -> None:
    workloads.error = errors.NotReady("no pools yet")

    async def drain() -> None:
        match ask:
            case "detach":
                await client.detach(DETACH)
            case "get":
                await client.get("web-1")
            case "list":
                [it async for it in client.list()]
            case "watch":
                [it async for it in client.watch()]
            case "check":
                await client.check("web-1")
            case "plan":
                await client.plan()
            case "status":
                await client.status()

    with pytest.raises(ClientError, match="no pools yet") as caught:
        await drain()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert not isinstance(caught.value, Unreachable)


async def test_an_unforeseen_error_tells_the_client_nothing_of_the_inside(
    client: AsyncClient, workloads: FakeWorkloads, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client reads where to look; the traceback is in the log."""
    workloads.error = RuntimeError("secret detail")
    with pytest.raises(ClientError) as caught:
        await client.attach(ATTACH)
    assert (caught.value.code, caught.value.message) == (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
    assert "secret detail" in capsys.readouterr().out


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    _, message = status_of(errors.AlreadyHeld("held by\nevil\x1b[2J\udcff"))
    assert message == "held by\\nevil\\x1b[2J\\udcff"
    _, message = status_of(errors.AlreadyHeld("é" * MESSAGE_MAX_BYTES))
    assert len(message.encode()) <= MESSAGE_MAX_BYTES
    assert message.endswith("é…")


async def test_a_wrong_request_does_not_reach_the_workloads(client: AsyncClient, workloads: FakeWorkloads) -> None:
    with pytest.raises(ClientError, match=r"netns\.netns_path") as caught:
        await client.attach(pb.AttachRequest(workload_id="web-2"))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not workloads.asked


async def test_what_is_not_there_is_not_found(client: AsyncClient) -> None:
    for ask in (client.get, client.check):
        with pytest.raises(ClientError, match="web-9/eth0") as caught:
            await ask("web-9")
        assert caught.value.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 0])
async def test_pages_hold_everything_once_and_in_order(
    client: AsyncClient, workloads: FakeWorkloads, page_size: int
) -> None:
    views = [view(f"w{n}", if_name) for n in range(3) for if_name in ("eth0", "net1")]
    workloads.views = {it.key: it for it in views}
    found = [(it.workload_id, it.if_name) async for it in client.list(page_size)]
    assert found == sorted(workloads.views)


async def test_pages_hold_both_who_holds_a_key_and_what_waits_for_it(
    client: AsyncClient, workloads: FakeWorkloads
) -> None:
    """A page that ends between the two does not hide the second one."""
    holder = view("web")
    claims = [claim_of(holder, source) for source in ("file/a.yaml", "file/\udc80.yaml")]
    workloads.views = {view("db").key: view("db"), holder.key: holder}
    workloads.claims = claims
    found = [(it.workload_id, it.source, it.phase) async for it in client.list(1)]
    assert found == [
        ("db", "rpc", "Attached"),
        ("web", "rpc", "Attached"),
        ("web", "file/a.yaml", "Conflict"),
        ("web", "file/\\udc80.yaml", "Conflict"),
    ]


async def test_get_tells_what_waits_for_the_key(client: AsyncClient, workloads: FakeWorkloads) -> None:
    workloads.claims = [claim_of(view("web-1"), "file/a.yaml")]
    answer = await client.get_with_waiting("web-1")
    assert (answer.attachment.source, [it.source for it in answer.waiting]) == ("rpc", ["file/a.yaml"])
    (why,) = answer.waiting[0].unmet
    assert (why.workload_id, why.source, why.reason) == ("web-1", "file/a.yaml", "AlreadyHeld")


async def test_status_without_pools_is_for_who_asks_for_it(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """Others read from UNAVAILABLE that nothing can be attached."""
    workloads.pools = False
    with pytest.raises(Unavailable, match="no pool"):
        await client.status()
    assert (await client.status(without_pools=True)).ready


async def test_pages_stay_whole_while_attachments_go(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """A page begins after the last key of the page before, even if that key is gone."""
    workloads.views = {it.key: it for it in (view("a"), view("b"), view("c"))}
    found = []
    async for it in client.list(1):
        found.append(it.workload_id)
        workloads.views.pop((it.workload_id, it.if_name), None)  # type: ignore[call-overload]
    assert found == ["a", "b", "c"]


async def test_a_page_ends_before_grpc_would_refuse_its_size(
    client: AsyncClient, workloads: FakeWorkloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an attachment that is larger than a page is listed."""
    monkeypatch.setattr(servicer, "PAGE_MAX_BYTES", 10)
    workloads.views = {it.key: it for it in (view("a"), view("b"), view("c"))}
    assert [it.workload_id async for it in client.list()] == ["a", "b", "c"]


@pytest.mark.parametrize("token", ["!", "YQ==", "YQBi", "/w=="])
async def test_a_made_up_page_token_is_refused(server: Server, socket_path: Path, token: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="page_token: is not one that List returned") as caught:
            await rpc.WorkloadNetworkingStub(channel).List(pb.ListRequest(page_token=token))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_watch_streams_a_snapshot_a_mark_and_changes(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """And leaving it unsubscribes."""
    workloads.changes.put_nowait(WatchEvent(Change.UPDATED, view("web-2")))
    workloads.changes.put_nowait(WatchEvent(Change.REMOVED, view("web-2")))
    stream = client.watch()
    changes = [(await anext(stream)) for _ in range(4)]
    assert [pb.WatchResponse.Change.Name(it.change) for it in changes] == [
        "PRESENT",
        "SNAPSHOT_COMPLETE",
        "UPDATED",
        "REMOVED",
    ]
    assert changes[3].attachment.workload_id == "web-2"
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(workloads.unwatched.wait(), 5)


async def test_a_stopping_daemon_ends_watches_at_once(
    client: AsyncClient, workloads: FakeWorkloads, server: Server
) -> None:
    """A watch must not use up the grace that attaches are given."""
    stream = client.watch()
    await anext(stream)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.wait_for(server.stop(60), 5)
    with pytest.raises(ClientError) as caught:
        await waiting
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert workloads.unwatched.is_set()


async def test_what_a_watch_is_telling_does_not_hold_up_a_stop(
    client: AsyncClient, workloads: FakeWorkloads, server: Server
) -> None:
    """gRPC sends no status for a call that is cancelled in the midst of a message, and waits for it all the grace."""
    streams = [client.watch() for _ in range(32)]
    for stream in streams:
        await anext(stream)
        await anext(stream)
    rest = [asyncio.ensure_future(_end_of(stream)) for stream in streams]
    for _ in streams:
        workloads.changes.put_nowait(WatchEvent(Change.UPDATED, view("web-2")))
    for _ in range(3):
        await asyncio.sleep(0)  # each begins to send its own
    await asyncio.wait_for(server.stop(60), 5)
    assert {error.code for error in await asyncio.gather(*rest)} == {grpc.StatusCode.UNAVAILABLE}


async def _end_of(stream: AsyncIterator[pb.WatchResponse]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        async for _ in stream:
            pass
    return caught.value


async def test_calls_that_run_are_given_the_grace(
    client: AsyncClient, workloads: FakeWorkloads, server: Server
) -> None:
    workloads.gate = asyncio.Event()
    attaching = asyncio.ensure_future(client.attach(ATTACH))
    await workloads.attaching.wait()
    stopping = asyncio.ensure_future(server.stop(10))
    workloads.gate.set()
    assert (await attaching).attachment.workload_id == "web-2"
    await stopping


@pytest.mark.parametrize("what_if", [ATTACH, DETACH, None])
async def test_plan_asks_for_one_wish_or_the_whole_node(
    client: AsyncClient, workloads: FakeWorkloads, what_if: pb.AttachRequest | pb.DetachRequest | None
) -> None:
    workloads.differences = (PlannedChange(view().key, "+", "route", "route 10.99.0.2/32 dev np0 proto netplumb"),)
    answer = await client.plan(what_if)
    assert [(it.verb, it.kind, it.workload_id) for it in answer.changes] == [("+", "route", "web-1")]
    (asked,) = workloads.asked
    assert not isinstance(asked, tuple | Application)
    assert not isinstance(asked, tuple | Application | Asked)


async def test_apply_and_its_plan_pass_documents_on(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """The names of their files say nothing, so that any will do."""
    workloads.applied = (Applied(view().key, Result.CONFIGURED, ("mtu: none -> 1400",), "held by db"),)
    files = pb.StateFiles(files=[pb.StateFile(name="a/b.txt", content=b"x"), pb.StateFile(name="a/b.txt")])
    request = pb.ApplyRequest(files=files, prune=True, dry_run=True)
    (answer,) = await client.apply(request)
    assert (answer.workload_id, answer.result, list(answer.changes)) == ("web-1", "configured", ["mtu: none -> 1400"])
    assert answer.waiting == "held by db"
    assert workloads.dry_run
    await client.plan(request)
    documents = (StateFile("a/b.txt", b"x"), StateFile("a/b.txt", b""))
    assert workloads.asked == [Application(documents, prune=True)] * 2


async def test_delete_tells_what_was_not_applied(client: AsyncClient, workloads: FakeWorkloads) -> None:
    answer = await client.delete(pb.DeleteRequest(names=[pb.AttachmentName(workload_id="web-1")]))
    assert [(it.workload_id, it.if_name) for it in answer.missing] == [("web-1", "eth0")]
    assert not answer.deleted
    with pytest.raises(ClientError, match=r"names\[0\].workload_id: must not be empty"):
        await client.delete(pb.DeleteRequest(names=[pb.AttachmentName()]))


async def test_plan_asks_for_files_that_are_put_into_place(client: AsyncClient, workloads: FakeWorkloads) -> None:
    files = [pb.StateFile(name="web.yaml", content=b"a"), pb.StateFile(name="db.json")]
    await client.plan(pb.StateFiles(files=files))
    assert workloads.asked == [(StateFile("web.yaml", b"a"), StateFile("db.json", b""))]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "files.files: must not be empty"),
        (["web"], "files.files[0].name: 'web' is no name of a state file"),
        (["web.yaml", "../web.yaml"], "files.files[1].name: '../web.yaml' is no name of a state file"),
        ([".web.yaml"], "files.files[0].name: '.web.yaml' is no name of a state file"),
        (["a\nb.yaml"], "files.files[0].name: 'a\\nb.yaml' is no name of a state file"),
        (["a.yaml", "a.yaml"], "files.files[1].name: a.yaml is given twice"),
    ],
)
async def test_a_file_that_the_daemon_would_not_read_cannot_be_planned(
    client: AsyncClient, names: list[str], said: str
) -> None:
    with pytest.raises(ClientError) as caught:
        await client.plan(pb.StateFiles(files=[pb.StateFile(name=name) for name in names]))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(said)


async def test_clients_wait_for_a_daemon_that_starts(socket_path: Path, workloads: FakeWorkloads) -> None:
    """A call that is made before the daemon listens is answered when it does."""
    async with AsyncClient(socket_path, timeout_s=10.0) as early:
        asking = asyncio.ensure_future(early.status())
        await asyncio.sleep(0)
        server = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: True)
        assert (await asking).ready
        await server.stop(0)
        # … and once more over a restart, on the same client.
        asking = asyncio.ensure_future(early.status())
        server = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: True)
        assert (await asking).ready
        await server.stop(0)


async def test_a_call_outlives_the_daemon_that_took_it(socket_path: Path, workloads: FakeWorkloads) -> None:
    """Every call may be repeated, so one that broke off is asked again of the next daemon."""
    workloads.gate = asyncio.Event()
    first = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: True)
    async with AsyncClient(socket_path, timeout_s=10.0) as client:
        attaching = asyncio.ensure_future(client.attach(ATTACH))
        await workloads.attaching.wait()
        await first.stop(0)
        workloads.gate = None
        second = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: True)
        assert (await attaching).attachment.workload_id == "web-2"
        await second.stop(0)


async def test_no_daemon_is_unreachable_with_the_reason(socket_path: Path) -> None:
    async with AsyncClient(socket_path, timeout_s=0.05) as client:
        with pytest.raises(Unreachable, match=r"workloadnet\.sock: No such file or directory"):
            await client.status()
        with pytest.raises(Unreachable, match=r"workloadnet\.sock: No such file or directory"):
            await anext(client.watch())


async def test_a_daemon_that_does_not_answer_is_not_called_unreachable(
    client: AsyncClient, workloads: FakeWorkloads
) -> None:
    workloads.gate = asyncio.Event()
    with pytest.raises(ClientError) as caught:
        await client.attach(ATTACH, timeout_s=0.1)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.message == "the daemon did not answer in time"
