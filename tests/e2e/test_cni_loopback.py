"""The plugin `loopback` that the installation brings where there is none. It needs no daemon, so none runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.runtimes import Done, Runtime, installed, reaches

Loopback = Callable[..., Done]


@pytest.fixture
def loopback(node: Host, directory: Path) -> Loopback:
    """Runs it as containerd does, which gives it a network of its own."""
    runtime = Runtime(node, installed(Daemon(node, directory)), "cni-loopback")

    def run(command: str, netns: Host | str = "", version: str = "0.3.1", **fields: object) -> Done:
        path = netns.path if isinstance(netns, Host) else netns
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": path, "CNI_IFNAME": "lo"}
        return runtime.run(environment, runtime.config(version, **fields), "loopback")

    return run


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
async def test_add_sets_lo_up(loopback: Loopback, web: Host, version: str) -> None:
    """And answers with its addresses, in the version that was supplied."""
    assert "UP" not in web.link("lo")["flags"]
    result = loopback("ADD", web, version).result()
    assert "UP" in web.link("lo")["flags"]
    assert result["cniVersion"] == version
    assert result["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": web.path}]
    assert [ip["address"] for ip in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    families = [ip.get("version") for ip in result["ips"]]
    assert families == (["4", "6"] if version.startswith("0.") else [None, None])
    await reaches(web, result)


def test_add_again_is_the_same(loopback: Loopback, web: Host) -> None:
    assert loopback("ADD", web).result() == loopback("ADD", web).result()


def test_without_ipv6_there_is_no_address_of_it(loopback: Loopback, web: Host) -> None:
    web.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1")
    assert [ip["address"] for ip in loopback("ADD", web).result()["ips"]] == ["127.0.0.1/8"]


def test_the_node_is_not_touched(loopback: Loopback, node: Host, web: Host) -> None:
    before = kernel_state(node)
    loopback("ADD", web).result()
    assert kernel_state(node) == before


def test_a_result_before_is_passed_on(loopback: Loopback, web: Host) -> None:
    """It makes no change that a result would tell of."""
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [], "extra": 1}
    assert loopback("ADD", web, "1.0.0", prevResult=before).result() == before


def test_check_looks_whether_lo_is_up(loopback: Loopback, web: Host) -> None:
    result = loopback("ADD", web, "0.4.0").result()
    loopback("CHECK", web, "0.4.0", prevResult=result).succeeded()
    web.ip("link set lo down")
    assert web.path in loopback("CHECK", web, "0.4.0", prevResult=result).error()["msg"]


def test_del_succeeds_whatever_is_there(loopback: Loopback, web: Host) -> None:
    """The interface goes with its namespace; often that is gone already."""
    for netns in (web, "/run/netns/nobody", ""):
        loopback("DEL", netns).succeeded()


def test_gc_and_status_succeed(loopback: Loopback) -> None:
    """There is nothing that could be stale, and nothing that could be missing."""
    for command in ("GC", "STATUS"):
        loopback(command, version="1.1.0").succeeded()


def test_version_tells_what_is_supported(loopback: Loopback) -> None:
    found = loopback("VERSION", version="0.4.0").result()
    assert found == {"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}


@pytest.mark.parametrize("netns", ["", "/run/netns/nobody", "/etc/passwd"])
def test_what_is_no_namespace_is_an_error(loopback: Loopback, netns: str) -> None:
    """Error 4, naming the variable."""
    error = loopback("ADD", netns).error()
    assert error["code"] == 4
    assert "CNI_NETNS" in error["msg"]


@pytest.mark.parametrize("version", ["0.2.0", "1.2.0"])
def test_another_version_is_an_error(loopback: Loopback, web: Host, version: str) -> None:
    """Error 1."""
    assert loopback("ADD", web, version).error()["code"] == 1
    assert "UP" not in web.link("lo")["flags"]


def test_an_unknown_command_is_an_error(loopback: Loopback) -> None:
    """Error 4, naming the variable."""
    error = loopback("PLUG").error()
    assert (error["code"], "CNI_COMMAND" in error["msg"]) == (4, True)
