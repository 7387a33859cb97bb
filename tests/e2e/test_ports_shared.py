"""A port of the node that several interfaces of one workload map, by real traffic in both families."""

from __future__ import annotations

import socket
from contextlib import suppress

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ASK_S, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime
from tests.e2e.streams import open_socket
from tests.e2e.waiting import until

BOTH = ("8081:80/tcp", "8081:80/udp")
EVERYWHERE = [(ip, protocol) for ip in (NODE_V4, NODE_V6) for protocol in ("tcp", "udp")]


def answers(outside: Host, port: int = 8081) -> list[bool]:
    return [bool(ask(outside, ip, port, protocol)) for ip, protocol in EVERYWHERE]


async def test_one_serves_and_the_next_takes_over(client: AsyncClient, outside: Host, node: Host, web: Host) -> None:
    """A container's ports are passed with each of its networks: each interface that is there is enough."""
    for if_name in ("eth1", "eth0", "eth2"):
        await client.attach(wishes.attach(web, if_name=if_name, ports=BOTH))
    with serving(web, 80):
        assert all(answers(outside))
        for if_name in ("eth1", "eth0"):
            await client.detach(wishes.detach("web", if_name=if_name))
            await until(lambda: all(answers(outside)), f"another serves when {if_name} is gone", within_s=10)
            assert ask(node, "127.0.0.1", 8081)
            assert ask(node, "::1", 8081)
        await client.detach(wishes.detach("web", if_name="eth2"))
        assert not any(answers(outside))
    assert "8081" not in node.ruleset()
    assert not (await client.plan()).changes


async def test_who_serves_goes_on(client: AsyncClient, outside: Host, daemon: Daemon, web: Host) -> None:
    """A connection goes on while an interface comes and goes, and the daemon is restarted."""
    await client.attach(wishes.attach(web, if_name="eth1", ports=BOTH))
    with open_socket(web, "0.0.0.0", socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", 80))
        listener.listen()
        with open_socket(outside, NODE_V4, socket.SOCK_STREAM) as sender:
            sender.connect((NODE_V4, 8081))
            receiver, _ = listener.accept()
            with receiver:
                await client.attach(wishes.attach(web, if_name="eth2", ports=BOTH))
                daemon.kill9()
                await daemon.restart()
                async with daemon.client() as other:
                    for if_name in ("eth1", "eth2"):

                        async def in_sync(if_name: str = if_name) -> bool:
                            return (await other.check("web", if_name)).in_sync

                        await until(in_sync, f"{if_name} is as wished after the restart", within_s=10)
                    await other.detach(wishes.detach("web", if_name="eth2"))
                sender.sendall(b"still here")
                assert receiver.recv(64) == b"still here"


async def test_a_sender_of_datagrams_follows(client: AsyncClient, outside: Host, web: Host) -> None:
    """One that never stops sending from one port is led to the next interface."""
    for if_name in ("eth0", "eth1"):
        await client.attach(wishes.attach(web, if_name=if_name, ports=BOTH))
    with open_socket(outside, NODE_V4, socket.SOCK_DGRAM) as asking, serving(web, 80):
        asking.settimeout(ASK_S)
        asking.connect((NODE_V4, 8081))
        asking.send(b"?")
        assert asking.recv(64)
        await client.detach(wishes.detach("web", if_name="eth0"))

        def answered() -> bool:
            asking.send(b"?")
            with suppress(TimeoutError):  # what was on its way when eth0 went is lost
                return bool(asking.recv(64))
            return False

        await until(answered, "it is led to eth1", within_s=5)


async def test_only_different_targets_conflict(client: AsyncClient, outside: Host, web: Host, db: Host) -> None:
    """Within a workload what leads elsewhere is refused; another workload has nothing of it, as long as one maps it."""
    await client.attach(wishes.attach(web, ports=BOTH))
    await client.attach(wishes.attach(web, if_name="eth1", ports=("127.0.0.1:8081:80",)))
    with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, "tcp port 8081", "web/eth0", "port 80"):
        await client.attach(wishes.attach(web, if_name="eth2", ports=("8081:81",)))
    with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, "tcp port 8081", "web/eth"):
        await client.attach(wishes.attach(db, ports=("8081:80",)))
    await client.detach(wishes.detach("web"))
    with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, "tcp port 8081", "web/eth1"):
        await client.attach(wishes.attach(db, ports=("8081:80",)))
    await client.detach(wishes.detach("web", if_name="eth1"))
    await client.attach(wishes.attach(db, ports=("8081:80",)))
    with serving(db, 80):
        assert (ask(outside, NODE_V4, 8081) or "").startswith("db")


@pytest.mark.parametrize(
    "said",
    [
        ("9090:80", "[::]:9090:80"),
        ("0.0.0.0:9090:80", "[::]:9090:80"),
        ("9090:80", "127.0.0.1:9090:80"),
        ("9090:80", "9090:80"),
    ],
)
async def test_what_is_said_twice_is_one_mapping(
    client: AsyncClient, outside: Host, node: Host, web: Host, said: tuple[str, ...]
) -> None:
    ports = [f"{text}/{protocol}" for text in said for protocol in ("tcp", "udp")]
    await client.attach(wishes.attach(web, ports=ports))
    with serving(web, 80):
        assert all(answers(outside, 9090))
        assert all(ask(node, ip, 9090) for ip in ("127.0.0.1", "::1"))
    assert (await client.check("web")).in_sync


async def test_one_family_is_one_family(client: AsyncClient, outside: Host, web: Host, db: Host) -> None:
    """0.0.0.0 is IPv4 alone and :: is IPv6 alone; the other family is free for somebody else."""
    await client.attach(wishes.attach(web, ports=("0.0.0.0:9090:80",)))
    with serving(web, 80), serving(db, 81):
        assert ask(outside, NODE_V4, 9090)
        assert unanswered(outside, NODE_V6, 9090)
        await client.attach(wishes.attach(db, ports=("[::]:9090:81",)))
        assert [(ask(outside, ip, 9090) or "")[:3] for ip in (NODE_V4, NODE_V6)] == ["web", "db "]


async def test_as_a_runtime_says_them(runtime: Runtime, client: AsyncClient, outside: Host, web: Host) -> None:
    """Two networks, each ADD with all of the container's ports, each port said for both families; a DEL of either."""
    mappings = [
        {"hostPort": 8081, "containerPort": 80, "protocol": protocol, "hostIP": ip}
        for protocol in ("tcp", "udp")
        for ip in ("", "::", "127.0.0.1")
    ]
    config = {"portMappings": mappings}
    front = runtime.container("c1", web)
    back = Runtime(runtime.node, runtime.bin_dir, "back").container("c1", web, if_name="eth1")
    front.add(runtimeConfig=config).result()
    result = back.add(runtimeConfig=config).result()
    back.check(result, runtimeConfig=config).succeeded()
    with serving(web, 80):
        assert all(answers(outside))
        front.delete(runtimeConfig=config).succeeded()
        await until(lambda: all(answers(outside)), "the other network serves", within_s=10)
    back.delete(runtimeConfig=config).succeeded()
    assert [it async for it in client.list()] == []


async def test_from_state_files(client: AsyncClient, daemon: Daemon, outside: Host, web: Host) -> None:
    """Two files, one interface of the same workload each."""
    for if_name in ("eth0", "eth1"):
        (daemon.state_files / f"{if_name}.yaml").write_text(
            f"kind: Attachment\nworkload_id: web\nnetns: {{name: web}}\nif_name: {if_name}\n"
            "port_mappings: ['8081:80', '8081:80/udp', '0.0.0.0:8081:80', '[::1]:8081:80']\n"
        )
    with serving(web, 80):
        await until(lambda: all(answers(outside)), "the files are followed", within_s=10)
        (daemon.state_files / "eth0.yaml").unlink()

        async def one_is_left() -> bool:
            return len([it async for it in client.list()]) == 1

        await until(one_is_left, "one file is gone", within_s=10)
        await until(lambda: all(answers(outside)), "the other serves", within_s=10)


@pytest.mark.parametrize("apart", [None, True])
async def test_a_workload_asks_itself_by_a_port_of_any_interface(
    client: AsyncClient, web: Host, apart: bool | None
) -> None:
    """Also where it is kept from all other workloads."""
    at: list[str] = []
    for if_name, port in (("eth0", 8081), ("eth1", 8082)):
        ports = (f"{port}:80/tcp", f"{port}:80/udp")
        answer = await client.attach(wishes.attach(web, if_name=if_name, ports=ports, isolate_workloads=apart))
        at += [wishes.v4(answer), wishes.v6(answer)]
    with serving(web, 80, at=tuple(at)):
        for port in (8081, 8082):
            for ip, protocol in EVERYWHERE:
                assert ask(web, ip, port, protocol), (port, ip, protocol)
