"""`netplumb cni install` on a node with a daemon: what it wrote works, and goes with `uninstall`."""

from __future__ import annotations

import json

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.cni.install import Places
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime, places_of, reaches


def flags(places: Places) -> tuple[str, str]:
    return f"--conf-dir={places.conf_dir}", f"--bin-dir={places.bin_dir}"


@pytest.fixture
def places(daemon: Daemon) -> Places:
    """Where the command installed the plugin, for a network without a name of its own."""
    places = places_of(daemon)
    done = daemon.command("cni", "install", f"--socket={daemon.socket}", *flags(places))
    assert done.returncode == 0, done.stderr
    return places


async def test_what_it_wrote_attaches(places: Places, client: AsyncClient, node: Host, web: Host) -> None:
    """The plugin that the configuration names, with the capabilities that it declares, for the network that it is."""
    (conflist,) = places.conf_dir.iterdir()
    found = json.loads(conflist.read_text())
    (plugin,) = found["plugins"]
    runtime = Runtime(node, places.bin_dir, found["name"])
    config = runtime.config(found["cniVersion"], runtimeConfig=dict.fromkeys(plugin["capabilities"]))
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": web.path, "CNI_IFNAME": "eth0"}
    runtime.run(environment, config, plugin["type"]).result()
    assert [it.source async for it in client.list()] == ["cni/netplumb"]


async def test_uninstall_leaves_what_is_attached(places: Places, daemon: Daemon, node: Host, web: Host) -> None:
    """It takes the files away, and no network of any container."""
    runtime = Runtime(node, places.bin_dir)
    result = runtime.container("c1", web).add().result()
    done = daemon.command("cni", "uninstall", *flags(places))
    assert done.returncode == 0, done.stderr
    assert list(places.conf_dir.iterdir()) == list(places.bin_dir.iterdir()) == []
    await reaches(node, result)


async def test_a_daemon_elsewhere_is_not_asked(places: Places, daemon: Daemon, node: Host, web: Host) -> None:
    """The plugin keeps its socket; what NETPLUMB_SOCKET says when a runtime starts it does not count."""
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": web.path,
        "CNI_IFNAME": "eth0",
        "NETPLUMB_SOCKET": "/run/elsewhere.sock",
    }
    runtime = Runtime(node, places.bin_dir)
    runtime.run(environment, runtime.config()).result()
    assert "eth0" in web.links()
