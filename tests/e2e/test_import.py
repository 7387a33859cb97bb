"""What programs import: `netplumb`, against the real daemon. Every example that it or the README gives is run."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest

import netplumb
from netplumb import messages
from netplumb.api import cniproxy
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.test_readme import TEXTS, blocks
from tests.e2e.wishes import attach, detach

CLIENTS = (netplumb.Client, netplumb.AsyncClient, cniproxy.CNI, cniproxy.AsyncCNI)
PAGES = {page: found for page in TEXTS if (found := blocks("python", page))}


def examples(it: object) -> list[str]:
    """The section of that name of a docstring."""
    doc = inspect.getdoc(it) or ""
    return [textwrap.dedent(it) for it in re.findall(r"^Example:\n((?: {4}.*\n|\n)+)", doc + "\n", flags=re.MULTILINE)]


def calls(kind: type) -> list[object]:
    return [it for name, it in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"]


@pytest.fixture
def client(daemon: Daemon) -> Iterator[netplumb.Client]:
    with netplumb.Client(daemon.socket, timeout_s=10) as client:
        yield client


async def run(example: str, known: dict[str, object]) -> None:
    """As it stands, in a program that imports what it names."""
    code = compile(example, example, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, known)
    else:
        await asyncio.to_thread(exec, code, known)


def known(**more: object) -> dict[str, object]:
    return {**vars(cniproxy), "netplumb": netplumb, "messages": messages, "time": time, **more}


def test_there_are_examples() -> None:
    """Of the package, of an error, of each client and of most of its calls, and in what people read."""
    assert examples(netplumb)
    assert examples(netplumb.ClientError)
    for kind in CLIENTS:
        assert examples(kind)
        assert len([it for it in calls(kind) if examples(it)]) >= 2
    assert PAGES


@pytest.fixture
def here(daemon: Daemon, web: Host, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon where clients look for it, and a namespace `web`."""
    monkeypatch.setenv("NETPLUMB_SOCKET", str(daemon.socket))
    return daemon


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("it", [netplumb, netplumb.ClientError, cniproxy, *CLIENTS], ids=lambda it: it.__name__)
async def test_examples_run(it: object) -> None:
    for example in examples(it):
        with netplumb.Client() as client:
            await run(example, known(client=client))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("page", PAGES)
async def test_examples_of_a_page_run(page: str, make_host: MakeHost) -> None:
    """Where there is what the sandbox has, too."""
    make_host("guest-1")
    for example in PAGES[page]:
        await run(example, known())


async def test_examples_of_calls_run(here: Daemon, web: Host) -> None:
    """Of both clients, each beside an attachment `web`."""
    with netplumb.Client() as client:
        async with netplumb.AsyncClient() as asynchronous:
            for kind, given in ((netplumb.Client, client), (netplumb.AsyncClient, asynchronous)):
                for example in [example for call in calls(kind) for example in examples(call)]:
                    await asynchronous.attach(attach(web))
                    await run(example, known(client=given))


async def test_examples_of_calls_of_cni_run(here: Daemon, web: Host) -> None:
    with cniproxy.CNI() as cni:
        async with cniproxy.AsyncCNI() as asynchronous:
            for kind, given in ((cniproxy.CNI, cni), (cniproxy.AsyncCNI, asynchronous)):
                for example in [example for call in calls(kind) for example in examples(call)]:
                    await run(example, known(cni=given))


def test_importing_it_loads_next_to_nothing() -> None:
    """What the CNI plugin and `netplumb --help` come through knows no gRPC and no pydantic until it is asked."""
    program = "import sys, netplumb; netplumb.__all__, dir(netplumb); print(*{'grpc', 'pydantic'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == []


def test_all_that_it_names_is_there() -> None:
    for name in netplumb.__all__:
        assert getattr(netplumb, name), name
    assert netplumb.__version__ == version("netplumb")
    with pytest.raises(AttributeError, match="nobody"):
        _ = netplumb.nobody  # type: ignore[attr-defined]


def test_every_call_without_an_event_loop(client: netplumb.Client, web: Host, db: Host) -> None:
    assert client.status().ready
    assert client.plan(attach(web)).changes
    answer = client.attach(attach(web))
    assert client.get("web").addresses == answer.attachment.addresses
    assert client.check("web").in_sync
    client.attach(attach(db))
    assert [it.workload_id for it in client.list(page_size=1)] == ["db", "web"]
    assert [it.workload_id for it in client.gc([("db", "eth0")])] == ["web"]
    client.detach(detach("db"))
    assert list(client.list()) == []


def test_a_watch_may_be_left_at_any_event(client: netplumb.Client, web: Host) -> None:
    """A loop over it ends with `break`, and the connection serves the next call."""
    client.attach(attach(web))
    for _ in range(3):
        for event in client.watch():
            assert event.attachment.workload_id == "web"
            break
    assert client.get("web").workload_id == "web"


def test_it_serves_many_threads(client: netplumb.Client, web: Host) -> None:
    client.attach(attach(web))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: client.get("web").workload_id, range(64)))
    assert found == ["web"] * 64


def test_each_refusal_has_its_kind(client: netplumb.Client, daemon: Daemon, web: Host, db: Host) -> None:
    """A program tells them apart without knowing gRPC."""
    client.attach(attach(web, addresses=["10.99.0.77"]))
    refused: dict[type[netplumb.ClientError], messages.AttachRequest] = {
        netplumb.InvalidArgument: attach(db, "a\nb"),
        netplumb.FailedPrecondition: messages.AttachRequest(
            workload_id="db", netns=messages.NetNSAttachment(netns_path="/run/netns/nobody")
        ),
        netplumb.AlreadyExists: attach(db, addresses=["10.99.0.77"]),
    }
    for kind, request in refused.items():
        with pytest.raises(kind):
            client.attach(request)
    with pytest.raises(netplumb.NotFound):
        client.get("db")
    daemon.terminate()
    with pytest.raises(netplumb.Unreachable, match="no daemon answers"):
        client.status(timeout_s=0.2)


def test_it_is_a_program_too() -> None:
    """`python -m netplumb` is the command."""
    said = subprocess.check_output([sys.executable, "-m", "netplumb", "--version"], text=True)
    assert said == f"netplumb {netplumb.__version__}\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # from Python 3.12 on
def test_a_fork_is_told_to_open_a_client_of_its_own(client: netplumb.Client) -> None:
    """It has not the thread that serves the client, and would wait for ever."""
    process = os.fork()
    if not process:
        try:
            client.status()
        except RuntimeError as error:
            os._exit("open another" not in str(error))
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert client.status().ready
