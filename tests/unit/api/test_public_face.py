"""What programs import: every name says itself what it does, and a wrong use is told as one."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netplumb
from netplumb.api import cniproxy

PAIRS = ((netplumb.AsyncClient, netplumb.Client), (cniproxy.AsyncCNI, cniproxy.CNI))
NEW = {kind.__name__: kind for pair in PAIRS for kind in pair}
ASKS_NOBODY = {"load", "get_config"}


def public_names() -> Iterator[tuple[str, object]]:
    for module in (netplumb, cniproxy):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) or callable(found):
                yield f"{module.__name__}.{name}", found


def calls(kind: type) -> dict[str, Callable[..., Any]]:
    return {name: it for name, it in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}


NAMES = dict(public_names())
CALLS = {f"{kind.__name__}.{name}": call for pair in PAIRS for kind in pair for name, call in calls(kind).items()}


def says_something(doc: str | None) -> bool:
    """A sentence that does not only name where to read."""
    first = (doc or "").split("\n\n")[0].strip()
    return len(first.split()) > 3 and not re.match(r"(See|As|Like|Same as|The same as)\b[^,;:.]*\.?$", first)


def section(doc: str, name: str) -> str:
    found = re.search(rf"^{name}:\n((?:[ ]{{4}}.*\n|\n)+)", doc + "\n", flags=re.MULTILINE)
    return found[1] if found else ""


def without_async(doc: str) -> str:
    """What the synchronous twin says."""
    return re.sub(r"\bAsync(Client|CNI)\b", r"\1", re.sub(r"\b(await|async) ", "", doc))


def test_there_is_something_to_look_at() -> None:
    """Both clients have calls, and so have the two CNIs."""
    assert len(NAMES) > 20
    assert len(CALLS) > 40


@pytest.mark.parametrize("doc", ["See `AsyncClient.get`.", "As `get`.", "The same as `get`.", "", None])
def test_a_mere_pointer_says_nothing(doc: str | None) -> None:
    assert not says_something(doc)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is(name: str) -> None:
    """In its own words, not in those that it inherits."""
    found = NAMES[name]
    assert says_something(vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__), name


@pytest.mark.parametrize("name", CALLS)
def test_every_call_says_what_it_takes_and_raises(name: str) -> None:
    """Each parameter by its name, and what is raised; only what asks nobody raises nothing."""
    call = CALLS[name]
    doc = inspect.getdoc(call) or ""
    assert says_something(doc)
    told = re.findall(r"^    (\w+):", section(doc, "Args"), flags=re.MULTILINE)
    assert told == [it for it in inspect.signature(call).parameters if it != "self"]
    assert bool(section(doc, "Raises")) == (call.__name__ not in ASKS_NOBODY)


@pytest.mark.parametrize("name", NEW)
def test_every_client_says_how_it_is_made(name: str) -> None:
    doc = inspect.getdoc(NEW[name]) or ""
    told = re.findall(r"^    (\w+):", section(doc, "Args"), flags=re.MULTILINE)
    assert told == [it for it in inspect.signature(NEW[name]).parameters if it != "self"]
    assert section(doc, "Raises")
    assert section(doc, "Example")


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_both_kinds_have_the_same_calls_in_the_same_words(asynchronous: type, synchronous: type) -> None:
    """By name, parameters, defaults and docstring, less what is asyncio's."""
    theirs, ours = calls(asynchronous), calls(synchronous)
    assert theirs.keys() == ours.keys()
    for name, call in theirs.items():
        assert str(inspect.signature(call).parameters) == str(inspect.signature(ours[name]).parameters), name
        assert without_async(call.__doc__ or "") == ours[name].__doc__, name


# Wrong use.

SYNC_CALLS: dict[str, Callable[[Any], object]] = {
    "get": lambda it: it.get("web"),
    "status": lambda it: it.status(),
    "list": lambda it: next(iter(it.list())),
    "watch": lambda it: next(iter(it.watch())),
    "events": lambda it: next(iter(it.events())),
}


@pytest.mark.parametrize("name", SYNC_CALLS)
def test_a_call_outside_of_the_block_is_told_so(name: str, socket_path: Path) -> None:
    """Before it and after it, by a call and by a stream."""
    client = netplumb.Client(socket_path)
    with pytest.raises(RuntimeError, match="not open: make its calls in a `with` block"):
        SYNC_CALLS[name](client)
    with client:
        pass
    with pytest.raises(RuntimeError, match=r"this client is (closed|not open)"):
        SYNC_CALLS[name](client)


async def first(values: AsyncIterator[Any]) -> object:
    return await anext(values)


ASYNC_CALLS: dict[str, Callable[[netplumb.AsyncClient], Awaitable[object]]] = {
    "get": lambda it: it.get("web"),
    "list": lambda it: first(it.list()),
    "watch": lambda it: first(it.watch()),
    "events": lambda it: first(it.events()),
}


@pytest.mark.parametrize("name", ASYNC_CALLS)
async def test_an_async_call_outside_of_the_block_is_told_so(name: str, socket_path: Path) -> None:
    client = netplumb.AsyncClient(socket_path)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"not open: .*`async with`"):
            await ASYNC_CALLS[name](client)
        async with client:
            pass


async def test_a_cni_outside_of_the_block_is_told_so(socket_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        cniproxy.CNI(socket_path=socket_path).remove("3f1e9a")
    with pytest.raises(RuntimeError, match="not open"):
        await cniproxy.AsyncCNI(socket_path=socket_path).remove("3f1e9a")


async def test_a_client_is_not_opened_twice(socket_path: Path) -> None:
    """The block within the block is refused, and the outer one ends in order; another one may follow."""
    client = netplumb.Client(socket_path)
    for _ in range(2):
        with client, pytest.raises(RuntimeError, match="open already"), client:
            raise AssertionError
    later = netplumb.AsyncClient(socket_path)
    for _ in range(2):
        async with later:
            with pytest.raises(RuntimeError, match="open already"):
                await later.__aenter__()


@pytest.mark.parametrize("length", [108, 4000])
async def test_a_path_that_no_socket_can_have_is_told_at_once(length: int) -> None:
    """With the limit, before any call, by every client; and nothing is left running."""
    path = Path("/tmp".ljust(length, "x"))
    began = asyncio.get_running_loop().time()
    for kind in (netplumb.Client, cniproxy.CNI):
        with pytest.raises(netplumb.Unreachable, match="longer than the 107 bytes"), kind(socket_path=path):
            raise AssertionError
    for asynchronous in (netplumb.AsyncClient, cniproxy.AsyncCNI):
        with pytest.raises(netplumb.Unreachable, match="longer than the 107 bytes"):
            await asynchronous(socket_path=path).__aenter__()
    assert asyncio.get_running_loop().time() - began < 10


async def test_a_path_of_the_longest_length_is_none_too_long() -> None:
    """107 bytes are a path; that no daemon is there is another mistake."""
    async with netplumb.AsyncClient(Path("/tmp/".ljust(107, "x")), timeout_s=0) as client:
        with pytest.raises(netplumb.Unreachable, match="No such file"):
            await client.status()


@pytest.mark.parametrize("timeout_s", [math.nan, -1.0, -math.inf])
@pytest.mark.parametrize("kind", NEW.values())
def test_what_is_no_time_to_wait_is_refused(kind: Any, timeout_s: float, socket_path: Path) -> None:
    with pytest.raises(ValueError, match=r"timeout_s is .*seconds from 0 on"):
        kind(socket_path=socket_path, timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", [math.nan, -1.0])
def test_so_it_is_for_one_call(timeout_s: float, socket_path: Path) -> None:
    with (
        netplumb.Client(socket_path) as client,
        pytest.raises(ValueError, match=r"timeout_s is .*seconds from 0 on"),
    ):
        client.status(timeout_s)


async def test_no_time_at_all_does_not_wait(socket_path: Path) -> None:
    async with netplumb.AsyncClient(socket_path, timeout_s=0) as client:
        for call in (client.status(), first(client.watch())):
            with pytest.raises(netplumb.Unreachable):
                await call


@pytest.mark.parametrize("timeout_s", [math.inf, 1e12, 1e300])
@pytest.mark.usefixtures("server")
async def test_without_end_it_waits_without_end(timeout_s: float, socket_path: Path) -> None:
    """And is answered where a daemon answers, by a call and by a stream."""
    async with netplumb.AsyncClient(socket_path, timeout_s) as client:
        assert (await client.get("web-1")).workload_id == "web-1"
        assert (await client.status(timeout_s)).ready
        assert await first(client.watch())


async def test_without_end_it_waits_for_a_daemon(socket_path: Path) -> None:
    """Where none answers it does not give up."""
    async with netplumb.AsyncClient(socket_path, math.inf) as client:
        for call in (client.status(), first(client.watch())):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.3)


WRONG: dict[str, Callable[[Any], Awaitable[object]]] = {
    "a word": lambda it: it.attach("web"),
    "nothing": lambda it: it.detach(None),
    "fields": lambda it: it.apply({"files": []}),
    "another message": lambda it: it.detach(netplumb.messages.GetRequest(workload_id="web-1")),
    "a message that is planned by none": lambda it: it.plan(netplumb.messages.GetRequest(workload_id="web-1")),
    "a question of another kind": lambda it: it.explain_policy(netplumb.messages.PoliciesRequest()),
    "documents for files": lambda it: it.diff_policies(netplumb.messages.ApplyRequest()),
    "a name for names": lambda it: it.delete(netplumb.messages.AttachmentName(workload_id="web-1")),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_request_of_the_call_is_refused(name: str, client: netplumb.AsyncClient) -> None:
    """Before it is sent: a message of another kind is bytes like any, in which the daemon would read something."""
    with pytest.raises(TypeError, match=r"takes a messages\.\w+.*, not "):
        await WRONG[name](client)


MESSAGES: dict[str, Callable[[Any], Awaitable[object]]] = {
    "workload_id cannot be GetRequest": lambda it: it.get(netplumb.messages.GetRequest(workload_id="web-1")),
    "workload_id cannot be CheckRequest": lambda it: it.check(netplumb.messages.CheckRequest()),
    "events cannot be str": lambda it: it.describe("web-1", "eth0", "ten"),
    "page_size cannot be ListRequest": lambda it: first(it.list(netplumb.messages.ListRequest())),
    "selector cannot be WatchRequest": lambda it: first(it.watch(netplumb.messages.WatchRequest())),
    "about cannot be EventsRequest": lambda it: first(it.events(netplumb.messages.EventsRequest())),
    "selector cannot be TrafficRequest": lambda it: it.traffic(netplumb.messages.TrafficRequest()),
}


@pytest.mark.parametrize("told", MESSAGES)
async def test_a_message_in_place_of_values_is_told(told: str, client: netplumb.AsyncClient) -> None:
    """And what the call takes."""
    with pytest.raises(TypeError, match=f"{told}: this call takes .* as values"):
        await MESSAGES[told](client)


@pytest.mark.parametrize("alive", [["ab"], [("ab",)], ["container"]])
async def test_what_is_no_pair_keeps_nothing_alive(alive: Any, client: netplumb.AsyncClient) -> None:
    """And nothing is detached for it."""
    with pytest.raises(TypeError, match="pairs"):
        await client.gc(alive)


@pytest.mark.usefixtures("server")
def test_another_event_loop_is_told_so(socket_path: Path) -> None:
    client = netplumb.AsyncClient(socket_path, timeout_s=5)

    async def ask() -> object:
        return await client.status()

    async def watch() -> object:
        return await first(client.watch())

    with asyncio.Runner() as opened:
        opened.run(client.__aenter__())
        for call in (ask, watch):
            with asyncio.Runner() as other, pytest.raises(RuntimeError, match="belongs to the event loop"):
                other.run(call())
        opened.run(client.__aexit__(None, None, None))
