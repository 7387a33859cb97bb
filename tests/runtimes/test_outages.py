"""netplumb goes away and comes back while containerd runs pods on it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.runtimes.containerd import Containerd
from tests.runtimes.kubelet import Kubelet, port
from tests.runtimes.remains import Remains
from tests.runtimes.traffic import seen_as

PODS = 20
PINGS = 200
PING_EVERY_S = 0.05


async def test_a_pod_stopped_while_the_daemon_is_down_is_stopped_later(
    kubelet: Kubelet, daemon: Daemon, remains: Remains
) -> None:
    """Stop fails while netplumb is away, so that the kubelet repeats it; the repeated one leaves nothing."""
    pod = await kubelet.run("web", ports=[port(8080, 80)])
    daemon.terminate()
    with pytest.raises(grpc.aio.AioRpcError):
        await kubelet.stop(pod)
    await daemon.start()
    await kubelet.end(pod)
    await remains.are_none()


async def test_a_pod_run_while_the_daemon_is_down_is_run_later(
    kubelet: Kubelet, daemon: Daemon, node: Host, remains: Remains
) -> None:
    """RunPodSandbox fails while netplumb is away; once it is back the pod runs, and the failed one leaves nothing."""
    daemon.terminate()
    with pytest.raises(grpc.aio.AioRpcError):
        await kubelet.run("web", uid="pod-1")
    await daemon.start()
    pod = await kubelet.run("web", uid="pod-1", attempt=1)
    assert seen_as(node, pod.ipv4)
    for sandbox in await kubelet.sandboxes():
        await kubelet.end_sandbox(sandbox)
    await remains.are_none()


@pytest.mark.timeout(300)
async def test_killed_under_running_pods_it_loses_nothing(
    kubelet: Kubelet, daemon: Daemon, client: AsyncClient, node: Host, remains: Remains
) -> None:
    """SIGKILL and a restart under twenty pods: not a packet, an address or a kernel object is lost or made anew."""
    pods = [await kubelet.run(f"pod-{number}", ports=[port(9000 + number, 80)]) for number in range(PODS)]
    inside = [Host(pod.netns.name) for pod in pods]
    before = kernel_state(node, *inside), node.ruleset()
    pings = [await _pinging(node, address) for pod in pods for address in pod.ips]
    daemon.kill9()
    await daemon.start()
    for ping in pings:
        said = (await ping.communicate())[0].decode()
        assert f"{PINGS} packets transmitted, {PINGS} received" in said, said
    assert (kernel_state(node, *inside), node.ruleset()) == before
    for pod in pods:
        assert (await client.check(pod.uid)).in_sync
        assert await kubelet.ips(pod) == pod.ips
    await asyncio.gather(*map(kubelet.end, pods))
    await remains.are_none()


async def test_containerd_killed_under_running_pods_loses_nothing(
    containerd: Containerd, kubelet: Kubelet, node: Host, remains: Remains
) -> None:
    """SIGKILL and a restart of containerd: the pods answer throughout, and are ended by the new one."""
    pods = [await kubelet.run(f"pod-{number}", ports=[port(9000 + number, 80)]) for number in range(3)]
    containerd.kill9()
    for pod in pods:
        assert seen_as(node, pod.ipv4)
    await containerd.start()
    async with containerd.kubelet() as anew:
        await anew.until_network_ready()
        for pod in pods:
            assert await anew.ips(pod) == pod.ips
            assert seen_as(node, pod.ipv6)
            await anew.end(pod)
    await remains.are_none()


async def _pinging(node: Host, address: str) -> asyncio.subprocess.Process:
    words = f"ping -n -q -c {PINGS} -i {PING_EVERY_S} {address}".split()
    return await asyncio.create_subprocess_exec(*node.command(*words), stdout=asyncio.subprocess.PIPE)
