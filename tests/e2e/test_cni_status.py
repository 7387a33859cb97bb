"""CNI's STATUS and VERSION by the real plugin: whether an ADD would succeed now, and which versions are spoken."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import namespaces
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime, installed
from tests.e2e.waiting import until

NOT_AVAILABLE, LIMITED_CONNECTIVITY = 50, 51


async def test_a_ready_daemon_is_available(runtime: Runtime) -> None:
    """A plugin must exit with zero if it is ready to service ADD requests, and prints nothing."""
    runtime.status().succeeded()


async def test_a_daemon_that_is_away_is_not_available(runtime: Runtime, daemon: Daemon) -> None:
    """Error 50 if an external daemon is unavailable; containers keep their connectivity. It clears by itself."""
    daemon.terminate()
    assert runtime.status().error()["code"] == NOT_AVAILABLE
    await daemon.start()
    runtime.status().succeeded()


async def test_without_a_pool_it_is_not_available(start_daemon: StartDaemon, node: Host) -> None:
    """Error 50, which says what to do; a reload with a pool clears it."""
    daemon = await start_daemon(pools=(), ready=False)
    runtime = Runtime(node, installed(daemon))
    error = runtime.status().error()
    assert error["code"] == NOT_AVAILABLE
    assert "pool" in error["details"]
    daemon.configure()
    daemon.reload()
    await until(lambda: runtime.status().status == 0, "it is available")


async def test_exhausted_resources_are_not_available(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    """Error 50 if the plugin has a limited number of resources and those are exhausted."""
    daemon = await start_daemon(pools=("10.213.0.0/30",))
    runtime = Runtime(node, installed(daemon))
    runtime.status().succeeded()
    container = runtime.container("c1", web)
    container.add().result()
    error = runtime.status().error()
    assert error["code"] == NOT_AVAILABLE
    assert "10.213.0.0/30" in error["details"]
    container.delete().succeeded()
    runtime.status().succeeded()


async def test_a_network_speaks_of_its_own_pool(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    """That another network's pool is exhausted does not matter."""
    daemon = await start_daemon(pools=("10.213.0.0/30", "10.214.0.0/24"))
    runtime = Runtime(node, installed(daemon))
    runtime.container("c1", web).add(pool="10.213.0.0/30").result()
    assert runtime.status(pool="10.213.0.0/30").error()["code"] == NOT_AVAILABLE
    runtime.status(pool="10.214.0.0/24").succeeded()
    runtime.status().succeeded()
    assert "no pool 'blue'" in runtime.status(pool="blue").error()["details"]


async def test_a_node_out_of_sync_limits_connectivity(start_daemon: StartDaemon, node: Host) -> None:
    """Error 51: not available, and existing containers may have limited connectivity: the node cannot forward."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.read_only(Path("/proc/sys")))
        daemon = await start_daemon(ready=False)
        runtime = Runtime(node, installed(daemon))
        error = runtime.status().error()
        assert error["code"] == LIMITED_CONNECTIVITY
        assert "ip_forward" in error["details"]
    await until(lambda: runtime.status().status == 0, "the node is repaired", within_s=20)


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
async def test_before_1_1_0_there_is_no_status(runtime: Runtime, version: str) -> None:
    """Error 1."""
    assert runtime.run({"CNI_COMMAND": "STATUS"}, runtime.config(version)).error()["code"] == 1


@pytest.mark.parametrize("version", ["0.3.1", "1.1.0", "7.0.0"])
async def test_version_tells_what_is_supported(runtime: Runtime, version: str) -> None:
    """VERSION outputs the cniVersion specified on input and the list of supported versions."""
    assert runtime.run({"CNI_COMMAND": "VERSION"}, {"cniVersion": version}).result() == {
        "cniVersion": version,
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


async def test_an_unknown_command_is_an_error(runtime: Runtime) -> None:
    """Error 4: invalid environment variables, whose names the message must contain."""
    for command in ("", "PLUG"):
        error = runtime.run({"CNI_COMMAND": command}, runtime.config()).error()
        assert error["code"] == 4
        assert "CNI_COMMAND" in error["msg"]


async def test_missing_variables_are_an_error(runtime: Runtime) -> None:
    """Error 4, naming them."""
    error = runtime.run({"CNI_COMMAND": "ADD"}, runtime.config()).error()
    assert error["code"] == 4
    assert all(name in error["msg"] for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"))


async def test_what_cannot_be_decoded_is_an_error(runtime: Runtime, web: Host) -> None:
    """Error 6, in a version that the runtime may know."""
    error = runtime.container("c1", web).call("ADD", b"{").error()
    assert (error["code"], error["cniVersion"]) == (6, "1.1.0")


async def test_a_network_without_a_name_is_an_error(runtime: Runtime, web: Host) -> None:
    """Error 7."""
    error = runtime.container("c1", web).call("ADD", {"cniVersion": "1.0.0"}).error()
    assert (error["code"], error["cniVersion"]) == (7, "1.0.0")
