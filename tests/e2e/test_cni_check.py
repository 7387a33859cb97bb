"""CNI's CHECK by the real plugin: it says when a container's network is not as the ADD left it, and only then."""

from __future__ import annotations

import pytest

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.runtimes import Container, Json, Runtime

UNKNOWN_CONTAINER, INVALID_CONFIG, TRY_AGAIN_LATER, NOT_AS_DESIRED = 3, 7, 11, 102


@pytest.fixture
def container(runtime: Runtime, web: Host) -> Container:
    return runtime.container("c1", web)


@pytest.fixture
def result(container: Container) -> Json:
    return container.add().result()


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
async def test_what_an_add_left_is_as_expected(container: Container, version: str) -> None:
    """The plugin must handle CHECK being called immediately after an ADD."""
    container.check(container.add(version).result(), version).succeeded()


async def test_version_0_3_1_has_no_check(container: Container) -> None:
    """Error 1: it came with 0.4.0."""
    result = container.add("0.3.1").result()
    assert container.check(result, "0.3.1").error()["code"] == 1


async def test_a_check_changes_nothing(container: Container, result: Json, node: Host, web: Host) -> None:
    before = kernel_state(node, web)
    container.check(result).succeeded()
    assert kernel_state(node, web) == before


async def test_an_interface_that_is_not_ours_is_an_error(
    container: Container, result: Json, daemon: Daemon, web: Host
) -> None:
    """The plugin should return an error if an interface that it created is missing. Another one under its name, which
    netplumb must not touch, keeps it from being repaired; what differs is told."""
    daemon.pause()
    web.ip("link delete eth0")
    web.ip("link add eth0 type veth peer name other")
    daemon.resume()
    error = container.check(result).error()
    assert error["code"] == NOT_AS_DESIRED
    assert "eth0" in error["details"]


@pytest.mark.parametrize("damage", ["link delete eth0", "address flush dev eth0", "route flush default"])
async def test_what_is_repaired_is_no_error(container: Container, result: Json, web: Host, damage: str) -> None:
    """A reasonable convergence delay is allowed: damage heals by itself, and CHECK waits for that."""
    web.run(f"ip {damage}")
    container.check(result).succeeded()
    assert "eth0" in web.links()


async def test_a_namespace_that_is_gone_is_an_error(container: Container, result: Json, web: Host) -> None:
    """A condition where the container is generally unreachable."""
    web.remove()
    error = container.check(result).error()
    assert error["code"] == NOT_AS_DESIRED
    assert error["details"]


async def test_another_namespace_at_the_path_is_an_error(container: Container, result: Json, web: Host) -> None:
    """It is not the one that the container was added in."""
    web.remake()
    assert container.check(result).error()["code"] == NOT_AS_DESIRED


async def test_a_container_that_was_never_added_is_unknown(container: Container, runtime: Runtime, web: Host) -> None:
    """Error 3: the container does not exist."""
    result = container.add().result()
    assert runtime.container("c2", web).check(result).error()["code"] == UNKNOWN_CONTAINER
    assert runtime.container("c1", web, if_name="eth1").check(result).error()["code"] == UNKNOWN_CONTAINER
    container.delete().succeeded()
    assert container.check(result).error()["code"] == UNKNOWN_CONTAINER


async def test_a_container_of_another_network_is_unknown(container: Container, result: Json, runtime: Runtime) -> None:
    """CHECK speaks of one network."""
    other = Runtime(runtime.node, runtime.bin_dir, "storage")
    assert other.container("c1", container.netns).check(result).error()["code"] == UNKNOWN_CONTAINER


async def test_without_a_result_it_is_an_error(container: Container, result: Json, runtime: Runtime) -> None:
    """The plugin must consult prevResult, so there must be one."""
    assert result
    error = container.call("CHECK", runtime.config()).error()
    assert error["code"] == INVALID_CONFIG
    assert "prevResult" in error["msg"]


async def test_another_address_than_expected_is_an_error(container: Container, result: Json) -> None:
    """prevResult determines the expected addresses."""
    result["ips"][0]["address"] = "10.213.0.200/32"
    error = container.check(result).error()
    assert error["code"] == NOT_AS_DESIRED
    assert container.netns
    assert "10.213.0." in error["details"]


async def test_another_interface_than_expected_is_an_error(container: Container, result: Json) -> None:
    """prevResult determines the expected interfaces."""
    result["interfaces"][1]["name"] = "eth7"
    assert container.check(result).error()["code"] == NOT_AS_DESIRED


async def test_a_later_plugin_may_have_modified_the_result(container: Container, result: Json, web: Host) -> None:
    """The plugin must allow for a later chained plugin to have modified resources: one that added an interface, an
    address and a route."""
    web.ip("link add tun0 type veth peer name tun1")
    web.ip("address add 192.0.2.9/24 dev eth0")
    result["interfaces"].append({"name": "tun0", "mac": "02:00:00:00:00:09", "sandbox": web.path})
    result["ips"].append({"interface": 1, "address": "192.0.2.9/24"})
    result["routes"] = [{"dst": "198.51.100.0/24", "gw": "192.0.2.1"}]
    container.check(result).succeeded()


async def test_with_the_daemon_away_it_is_an_error(container: Container, result: Json, daemon: Daemon) -> None:
    """A daemon that connectivity depends on is missing: error 11, since it may come back; then CHECK succeeds."""
    daemon.terminate()
    assert container.check(result).error()["code"] == TRY_AGAIN_LATER
    await daemon.start()
    container.check(result).succeeded()
