"""Podman with `network_backend = "cni"` runs containers on netplumb, through the plugin."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.runtimes.networks import installed
from tests.runtimes.podman import Podman
from tests.runtimes.remains import Remains
from tests.runtimes.traffic import is_served, seen_as

HOST_PORT = 8080
STATIC_V4, STATIC_V6 = "10.213.0.77", "fd13::77"


@pytest.fixture
def podman(daemon: Daemon, node: Host, directory: Path) -> Iterator[Podman]:
    """A Podman that has two networks, both netplumb's."""
    podman = Podman(node, directory / "podman")
    with installed(daemon, "front", "back"):
        try:
            podman.load_image()
            yield podman
        finally:
            podman.end()


async def test_a_container_has_both_families(podman: Podman, client: AsyncClient, node: Host, remains: Remains) -> None:
    """Podman tells the addresses that netplumb gave, the container answers at both, and `rm` leaves nothing."""
    container = podman.start("web", "--network=front")
    told = _networks(podman, "web")["front"]
    attachment = await client.get(container)
    assert {told["IPAddress"], told["GlobalIPv6Address"]} == set(attachment.addresses)
    assert (attachment.source, attachment.container_id) == ("cni/front", container)
    for address in attachment.addresses:
        assert seen_as(node, address)
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()


async def test_published_ports_lead_to_the_container(
    podman: Podman, node: Host, outside: Host, remains: Remains
) -> None:
    """`-p` answers a client outside, whose own address the container sees, and the node."""
    podman.start("web", "--network=front", f"--publish={HOST_PORT}:80")
    assert seen_as(outside, NODE_V4, HOST_PORT) == OUTSIDE_V4
    assert seen_as(outside, NODE_V6, HOST_PORT) == OUTSIDE_V6
    for address in (NODE_V4, "127.0.0.1"):
        assert seen_as(node, address, HOST_PORT), address
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()
    assert not is_served(outside, NODE_V4, HOST_PORT)


async def test_two_networks_are_two_interfaces(
    podman: Podman, client: AsyncClient, node: Host, remains: Remains
) -> None:
    """A container on two networks has an interface on each, both answer, and one of them holds the default route."""
    container = podman.start("web", "--network=front", "--network=back")
    attachments = [found async for found in client.list()]
    assert {(found.workload_id, found.source) for found in attachments} == {
        (container, "cni/front"),
        (container, "cni/back"),
    }
    assert {found.if_name for found in attachments} == {"eth0", "eth1"}
    for found in attachments:
        for address in found.addresses:
            assert seen_as(node, address)
    inside = Host(Path(_inspect(podman, "web", "{{.NetworkSettings.SandboxKey}}")).name)
    for version in (4, 6):
        route = inside.default_route(version)
        assert route is not None
        assert route["dev"] == "eth0"
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()


async def test_two_networks_publish_the_same_ports(podman: Podman, node: Host, outside: Host, remains: Remains) -> None:
    """Podman passes a container's ports to each of its networks; here said for both families, in two ways."""
    ports = [HOST_PORT, HOST_PORT + 1]
    said = (f"{ports[0]}:80", f"[::]:{ports[0]}:80", f"0.0.0.0:{ports[1]}:80", f"[::]:{ports[1]}:80")
    podman.start("web", "--network=front", "--network=back", *(f"--publish={it}" for it in said))
    for port in ports:
        assert seen_as(outside, NODE_V4, port) == OUTSIDE_V4
        assert seen_as(outside, NODE_V6, port) == OUTSIDE_V6
        assert seen_as(node, "127.0.0.1", port)
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()


async def test_a_publishing_container_changes_its_networks(
    podman: Podman, client: AsyncClient, node: Host, outside: Host, remains: Remains
) -> None:
    """`network disconnect` closes its ports, `connect` opens them under another address and MAC; a reload changes none,
    and beside a second network the first can go."""
    container = podman.start("web", "--network=front", f"--publish={HOST_PORT}:80")
    before = _networks(podman, "web")["front"]
    podman.run("network", "disconnect", "front", "web")
    assert not is_served(outside, NODE_V4, HOST_PORT)
    podman.run("network", "connect", "front", "web")
    assert seen_as(outside, NODE_V4, HOST_PORT) == OUTSIDE_V4
    after = _networks(podman, "web")["front"]
    assert after["IPAddress"] != before["IPAddress"]
    assert after["MacAddress"] != before["MacAddress"]
    podman.run("network", "connect", "back", "web")
    both = _networks(podman, "web")
    podman.run("network", "reload", "--all")
    assert _networks(podman, "web") == both
    for address in (NODE_V4, "127.0.0.1"):
        assert seen_as(node, address, HOST_PORT), address
    podman.run("network", "disconnect", "front", "web")
    assert [found.source async for found in client.list()] == ["cni/back"]
    for address in (NODE_V4, NODE_V6):
        assert seen_as(outside, address, HOST_PORT)
    attachment = await client.get(container, "eth1")
    assert not attachment.conditions[1:], "what Podman's monitor holds the port with is nothing to tell of"
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()


async def test_a_reload_keeps_static_addresses(podman: Podman, client: AsyncClient, node: Host) -> None:
    """`network reload` names an address that was asked for twice: as that, and as the one that the container has."""
    container = podman.start("web", "--network=front", f"--ip={STATIC_V4}", f"--ip6={STATIC_V6}")
    podman.run("network", "reload", "web")
    assert [*(await client.get(container)).addresses] == [STATIC_V4, STATIC_V6]
    for address in (STATIC_V4, STATIC_V6):
        assert seen_as(node, address)


async def test_a_container_restarted_is_reachable_again(podman: Podman, client: AsyncClient, node: Host) -> None:
    """`restart` makes a new namespace for the same container, which gets its network in turn."""
    container = podman.start("web", "--network=front")
    podman.run("restart", "--time=0", "web")
    for address in (await client.get(container)).addresses:
        assert seen_as(node, address)


async def test_a_container_killed_behind_the_back_is_cleaned_up(podman: Podman, remains: Remains) -> None:
    """When the container's process was killed, nothing of its network is left once Podman noticed."""
    podman.start("web", "--network=front", f"--publish={HOST_PORT}:80")
    os.kill(int(_inspect(podman, "web", "{{.State.Pid}}")), signal.SIGKILL)
    await until(
        lambda: _inspect(podman, "web", "{{.State.Running}}") == "false", "Podman notices the end", within_s=20.0
    )
    podman.run("rm", "--force", "--time=0", "web")
    await remains.are_none()


async def test_a_container_removed_while_the_daemon_is_down_is_cleaned_up(
    podman: Podman, daemon: Daemon, client: AsyncClient, remains: Remains
) -> None:
    """Podman does not ask twice; netplumb finds the namespace gone, and frees what it held after the grace."""
    podman.start("web", "--network=front", f"--publish={HOST_PORT}:80")
    daemon.configure(netns_gone_grace_s=1)
    daemon.terminate()
    podman.attempt("rm", "--force", "--time=0", "web")
    assert not podman.run("ps", "--all", "--quiet")
    await daemon.start()
    await remains.are_none(but="result ")  # libcni keeps it, since DEL failed
    assert all(pool.held == 0 for pool in (await client.status()).pools)


async def test_containers_reach_each_other(podman: Podman) -> None:
    """One container reaches another by its address, under its own."""
    podman.start("web", "--network=front")
    podman.start("other", "--network=back")
    address = _networks(podman, "web")["front"]["IPAddress"]
    own = _networks(podman, "other")["back"]["IPAddress"]
    said = podman.run("exec", "other", "wget", "-q", "-O", "-", f"http://{address}/cgi-bin/who-asks")
    assert own in said


def _networks(podman: Podman, name: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(_inspect(podman, name, "{{json .NetworkSettings.Networks}}"))
    return found


def _inspect(podman: Podman, name: str, template: str) -> str:
    return podman.run("inspect", "--format", template, name)
