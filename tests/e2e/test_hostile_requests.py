"""Requests of all kinds, most of them wrong, through the socket to the daemon: each is answered, in words that were
meant, and what is refused changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TypeAlias

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.server.server import SERVICE
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.processes import descriptors_when_connected, let_go
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4
from tests.fuzz import budget, seeds
from tests.fuzz.mutations import mutated

INPUTS = budget.inputs(1000)
CALL_TIMEOUT_S = 30.0
EVENTS_WITHIN_S = 0.5
LOOK_AT_KERNEL_EVERY = 250

Code: TypeAlias = grpc.StatusCode
RawCall: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
RawStream: TypeAlias = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]

REFUSALS = {
    Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.ALREADY_EXISTS, Code.RESOURCE_EXHAUSTED, Code.NOT_FOUND,
    Code.UNIMPLEMENTED,
}  # fmt: skip
"""What a wrong request may be answered with. UNKNOWN and INTERNAL are mistakes of the daemon's, and nothing here takes
so long that DEADLINE_EXCEEDED would be right."""


class Wire:
    """A connection on which methods are called with raw bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, method: str, request: bytes) -> tuple[Code, str]:
        """The status and the message that the daemon answers; of a stream, its first answer counts."""
        path = f"/{SERVICE}/{method}"
        try:
            if method in ("Watch", "Events"):
                opened: RawStream = self._channel.unary_stream(path)
                stream = opened(request, timeout=CALL_TIMEOUT_S)
                first = asyncio.ensure_future(anext(aiter(stream), None))
                # Who follows events may have none to be told of for now.
                await asyncio.wait([first], timeout=CALL_TIMEOUT_S if method == "Watch" else EVENTS_WITHIN_S)
                stream.cancel()
                with suppress(asyncio.CancelledError):
                    await first
            else:
                unary: RawCall = self._channel.unary_unary(path)
                await unary(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return Code.OK, ""


@pytest.fixture
async def wire(daemon: Daemon) -> AsyncIterator[Wire]:
    async with grpc.aio.insecure_channel(f"unix:{daemon.socket}") as channel:
        yield Wire(channel)


@pytest.fixture
async def standing(daemon: Daemon, client: AsyncClient, db: Host) -> str:
    """The id of an attachment that no request may touch, since a state file holds it."""
    declare(daemon, "db.yaml", document("standing", db))

    async def attached() -> bool:
        return [it.phase async for it in client.list()] == ["Attached"]

    await until(attached, "the state file's attachment is there", within_s=20)
    return "standing"


async def _wishes(client: AsyncClient) -> list[str]:
    """What is desired, as List shows it, without what the daemon learns by itself."""
    shown = []
    async for attachment in client.list():
        for field in ("phase", "conditions", "observed_generation", "retries", "repairs"):
            attachment.ClearField(field)
        shown.append(str(attachment))
    return shown


def _originals(web: Host) -> list[tuple[str, bytes]]:
    """The seeds, some of which mean a workload that is there, so that what stays valid is carried out."""
    found = []
    for method, message in seeds.requests():
        found.append((method, message.SerializeToString()))
        if isinstance(message, pb.AttachRequest):
            real = pb.AttachRequest()
            real.CopyFrom(message)
            real.netns.netns_path = web.path
            found.append((method, real.SerializeToString()))
    found.append(("Attach", attach(web).SerializeToString()))
    return found


@pytest.mark.timeout(120 + 60 * budget.SCALE)
async def test_no_request_breaks_the_daemon_or_another_workload(
    daemon: Daemon, client: AsyncClient, wire: Wire, node: Host, web: Host, standing: str
) -> None:
    """Every method with mutated messages: answered in words, refused without a trace or carried out; afterwards the
    kernel is as before, no descriptor is left open, and the daemon serves."""
    random = Random(1 if budget.SCALE == 1 else None)
    originals = _originals(web)
    web.ip("link set lo up")  # an Attach does so, and a Detach leaves it up
    await wire.call("Status", b"")  # connects
    wishes, kernel = await _wishes(client), kernel_state(node, web)
    open_before = await descriptors_when_connected(daemon, client)
    seen: Counter[str] = Counter()
    for number in range(INPUTS):
        method, message = random.choice(originals)
        if random.random() < 0.02:
            method = random.choice([*seeds.METHODS, "Nope", "attach", ""])
        request = mutated(random, message)
        code, words = await wire.call(method, request)
        seen[code.name] += 1
        context = f"input {number}: {method} {request!r}: {code.name} {words!r}"
        assert words.isprintable(), context
        if code is Code.OK:
            await client.gc([])
        else:
            assert code in REFUSALS, context
            assert "Traceback" not in words, context
            assert "class '" not in words, context
        assert await _wishes(client) == wishes, context
        if number % LOOK_AT_KERNEL_EVERY == 0:
            assert kernel_state(node, web) == kernel, context
    print(f"{INPUTS} inputs through the socket: {dict(seen)}")
    assert seen["OK"] > INPUTS / 50, "hardly any input was taken: nothing behind the door was tested"
    assert seen["INVALID_ARGUMENT"] > INPUTS / 50
    assert kernel_state(node, web) == kernel
    assert daemon.running
    answer = await client.attach(attach(web))
    assert node.ping(v4(answer))
    await client.detach(detach("web"))
    assert (await client.check(standing)).in_sync
    await let_go(daemon, open_before)
    _assert_sound(daemon.log)


def _assert_sound(log: Path) -> None:
    """Nothing went wrong inside, and every line is one line, whatever was in the requests."""
    for line in log.read_text().splitlines():
        assert line.isprintable()
        event = json.loads(line)
        assert event["level"] in ("debug", "info"), event
        assert "exception" not in event, event


async def _refused_in_words(call: Awaitable[object], code: Code) -> None:
    with pytest.raises(ClientError) as caught:
        await call
    assert caught.value.code is code
    assert caught.value.message.isprintable()


HOSTILE_IDS = ["a\nb", "\x1b[31mred", "\x7f", "a\u202eb", "\x00", "a\u2028b", "\x9b31m", "nul\x00led", "a\tb"]


@pytest.mark.parametrize("text", HOSTILE_IDS)
async def test_control_characters_go_nowhere(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, text: str
) -> None:
    """In any field that names something: refused, no name and no alias in the kernel has them, nor has the log."""
    links = node.ip("link")
    requests = [
        attach(web, text),
        attach(web, if_name=text),
        attach(web, container_id=text),
        attach(web, labels={text: "x"}),
        attach(web, labels={"x": text}),
        attach(web.path + text, "web"),
    ]
    for request in requests:
        await _refused_in_words(client.attach(request), Code.INVALID_ARGUMENT)
        await _refused_in_words(client.plan(request), Code.INVALID_ARGUMENT)
    await _refused_in_words(client.get(text), Code.NOT_FOUND)
    await _refused_in_words(client.check(text), Code.NOT_FOUND)
    await _refused_in_words(client.detach(detach(text)), Code.INVALID_ARGUMENT)
    assert node.ip("link") == links
    _assert_sound(daemon.log)


async def test_odd_but_printable_names_reach_the_kernel_whole(client: AsyncClient, node: Host, web: Host) -> None:
    """Ids and interface names beyond ASCII are allowed; the alias on the node carries the key as it was given."""
    answer = await client.attach(attach(web, "pød «1» \U0001f600'\"\\;$(id)", if_name="ëth-✓"))
    assert "ëth-✓" in web.links()
    link = node.link(answer.attachment.node_if_name)
    assert link["ifalias"] == "netplumb:ëth-✓:pød «1» \U0001f600'\"\\;$(id)"
    await client.detach(detach("pød «1» \U0001f600'\"\\;$(id)", if_name="ëth-✓"))
    assert answer.attachment.node_if_name not in node.links()


async def test_what_runtimes_annotate_does_not_fail_an_attach(client: AsyncClient, web: Host) -> None:
    """256 KiB of annotations, as Kubernetes allows them, with long keys and values of several lines."""
    request = attach(web)
    request.annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{\n" + "x" * (250 << 10) + "\n}\n"
    request.annotations[f"{'d' * 253}/{'n' * 63}"] = "\t"
    assert (await client.attach(request)).attachment.phase == "Attached"
    assert (await client.attach(request)).attachment.generation == 1


async def test_a_parameter_that_no_kernel_has_is_refused_at_once(client: AsyncClient, web: Host) -> None:
    """The daemon's allow list has patterns, and the kernel no file for every name that fits one."""
    request = attach(web)
    request.sysctls["net.ipv4.tcp_nonsense"] = "1"
    await _refused_in_words(client.attach(request), Code.FAILED_PRECONDITION)
    assert await _wishes(client) == []
