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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest

import netplumb
from netplumb import messages
from netplumb.api import cniproxy
from netplumb.api.client import asynchronous, errors, synchronous
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.test_readme import blocks
from tests.e2e.wishes import attach, detach

DOCUMENTED = (netplumb, synchronous.Client, asynchronous.AsyncClient, errors.ClientError, cniproxy, cniproxy.CNI)


def examples(text: str, margin: int) -> list[str]:
    """The blocks of a docstring that are indented beyond its margin."""
    blocks = re.findall(rf"(?:^{' ' * (margin + 4)}.*\n|^\n)+", text, flags=re.MULTILINE)
    return [example for block in blocks if (example := textwrap.dedent(block).strip())]


def told() -> Iterator[tuple[str, str]]:
    for it in DOCUMENTED:
        for number, example in enumerate(examples(it.__doc__ or "", 4 if isinstance(it, type) else 0)):
            yield f"{it.__name__} {number}", example
    for number, example in enumerate(blocks("python")):
        yield f"README {number}", example


EXAMPLES = dict(told())


@pytest.fixture
def client(daemon: Daemon) -> Iterator[netplumb.Client]:
    with netplumb.Client(daemon.socket, timeout_s=10) as client:
        yield client


def test_there_are_examples() -> None:
    """Of the package, of each client, of an error, of each kind of CNI, and of the README."""
    assert len(EXAMPLES) == len(DOCUMENTED) + 1


@pytest.mark.parametrize("name", EXAMPLES)
async def test_examples_run(name: str, daemon: Daemon, web: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, in a program that imports what they name, with a daemon and a namespace `web`."""
    monkeypatch.setenv("NETPLUMB_SOCKET", str(daemon.socket))
    code = compile(EXAMPLES[name], name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with netplumb.Client() as client:
        known = {**vars(cniproxy), "netplumb": netplumb, "messages": messages, "client": client}
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, known)
        else:
            await asyncio.to_thread(exec, code, known)


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


def test_both_clients_have_the_same_calls() -> None:
    """By name, parameters and defaults; what one answers in the end, the other returns."""

    def calls(client: type) -> dict[str, list[str]]:
        found = inspect.getmembers(client, inspect.isfunction)
        return {name: list(map(str, inspect.signature(it).parameters.values())) for name, it in found if name[0] != "_"}

    assert calls(netplumb.Client) == calls(netplumb.AsyncClient)
    for name in calls(netplumb.Client):
        assert inspect.getdoc(getattr(netplumb.AsyncClient, name)), name


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
