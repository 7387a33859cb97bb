"""Through the drop-in, containerd tells the kubelet whether netplumb can serve.

The plugin cannot: containerd 1.6 never asks a plugin for its STATUS.
"""

from __future__ import annotations

import pytest

from tests.e2e.daemons import Daemon
from tests.e2e.waiting import until
from tests.runtimes.kubelet import Kubelet

pytestmark = pytest.mark.parametrize("flavour", ["drop-in"], indirect=True)

TOLD_WITHIN_S = 20.0


async def test_the_network_is_ready_while_the_daemon_answers(kubelet: Kubelet, daemon: Daemon) -> None:
    """NetworkReady is false while netplumb is down, and true when it is back."""
    daemon.kill9()
    await _until_not_ready(kubelet)
    await daemon.start()
    await kubelet.until_network_ready()


async def test_the_network_is_ready_while_there_are_pools(kubelet: Kubelet, daemon: Daemon) -> None:
    """NetworkReady is false while netplumb has no pool, and true when it has one again."""
    daemon.configure(pools=())
    daemon.reload()
    await _until_not_ready(kubelet)
    daemon.configure()
    daemon.reload()
    await kubelet.until_network_ready()
    await kubelet.run("web")


async def _until_not_ready(kubelet: Kubelet) -> None:
    async def not_ready() -> bool:
        return not await kubelet.network_ready()

    await until(not_ready, "NetworkReady is false", within_s=TOLD_WITHIN_S)
