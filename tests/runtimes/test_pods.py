"""containerd runs pods on netplumb through its CRI, as a kubelet drives it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests import namespaces
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.runtimes.cri import runtime_pb2 as cri
from tests.runtimes.kubelet import Kubelet, Pod, port
from tests.runtimes.remains import Remains
from tests.runtimes.traffic import is_served, rate, seen_as

HOST_PORT = 8080
MBIT = 1_000_000


async def test_a_pod_has_both_families(kubelet: Kubelet, client: AsyncClient, node: Host) -> None:
    """PodSandboxStatus tells an IPv4 and an IPv6 address, those that netplumb gave, and the pod answers at both."""
    pod = await kubelet.run("web")
    assert len(pod.ips) == 2
    attachment = await client.get(pod.uid)
    assert set(pod.ips) == set(attachment.addresses)
    assert attachment.container_id == pod.sandbox
    for address in (pod.ipv4, pod.ipv6):
        assert seen_as(node, address)


async def test_pods_reach_each_other_and_the_outside(kubelet: Kubelet, outside: Host) -> None:
    """A pod reaches another under its own address, and a host beyond the node, in both families."""
    web, other = await kubelet.run("web"), await kubelet.run("other")
    inside = Host(other.netns.name)
    assert seen_as(inside, web.ipv4) == other.ipv4
    assert seen_as(inside, web.ipv6) == other.ipv6
    assert inside.ping(OUTSIDE_V4)
    assert inside.ping(OUTSIDE_V6)


async def test_ports_of_the_node_lead_to_the_pod(kubelet: Kubelet, node: Host, outside: Host, remains: Remains) -> None:
    """A mapped port answers a client outside, which the pod sees by its own address, and the node itself; with the pod
    goes the mapping."""
    pod = await kubelet.run("web", ports=[port(HOST_PORT, 80)])
    assert seen_as(outside, NODE_V4, HOST_PORT) == OUTSIDE_V4
    assert seen_as(outside, NODE_V6, HOST_PORT) == OUTSIDE_V6
    for address in (NODE_V4, NODE_V6, "127.0.0.1", "::1"):
        assert seen_as(node, address, HOST_PORT), address
    await kubelet.end(pod)
    await remains.are_none()
    assert not is_served(outside, NODE_V4, HOST_PORT)


async def test_a_port_that_is_taken_fails_the_pod_alone(kubelet: Kubelet, outside: Host, client: AsyncClient) -> None:
    """A second pod on the same port of the node does not run, and what is in its way is told; the first runs on."""
    first = await kubelet.run("web", ports=[port(HOST_PORT, 80)])
    with pytest.raises(Exception, match=first.uid):
        await kubelet.run("late", ports=[port(HOST_PORT, 80)])
    assert seen_as(outside, NODE_V4, HOST_PORT) == OUTSIDE_V4
    assert [found.workload_id async for found in client.list()] == [first.uid]


async def test_bandwidth_is_what_the_annotations_say(kubelet: Kubelet, node: Host, client: AsyncClient) -> None:
    """Annotations limit what the pod receives and what it sends, each to its own rate."""
    annotations = {"kubernetes.io/ingress-bandwidth": "20M", "kubernetes.io/egress-bandwidth": "10M"}
    pod = await kubelet.run("slow", annotations=annotations)
    asked = (await client.get(pod.uid)).bandwidth
    assert (asked.ingress_rate, asked.egress_rate) == (20 * MBIT, 10 * MBIT)
    node_netns = namespaces.NETNS_DIR / node.name
    received = rate(pod.netns, node_netns, pod.ipv4)
    sent = rate(pod.netns, node_netns, pod.ipv4, reverse=True)
    assert received == pytest.approx(20 * MBIT, rel=0.2)
    assert sent == pytest.approx(10 * MBIT, rel=0.2)


async def test_what_the_pod_resolves_with_is_kept(kubelet: Kubelet, client: AsyncClient) -> None:
    """Name servers, search domains and options come through to netplumb."""
    pod = await kubelet.run(
        "web", dns=cri.DNSConfig(servers=["192.0.2.53"], searches=["cluster.local"], options=["ndots:5"])
    )
    dns = (await client.get(pod.uid)).dns
    assert (list(dns.servers), list(dns.searches), list(dns.options)) == (
        ["192.0.2.53"],
        ["cluster.local"],
        ["ndots:5"],
    )


async def test_annotations_of_any_size_do_no_harm(kubelet: Kubelet, node: Host) -> None:
    """A pod with as many annotations as Kubernetes allows runs."""
    annotations = {f"example.org/{number}": "x" * 1000 for number in range(250)}
    pod = await kubelet.run("web", annotations=annotations)
    assert seen_as(node, pod.ipv4)


async def test_stop_and_remove_leave_nothing(kubelet: Kubelet, remains: Remains) -> None:
    """After Stop and Remove all is as before, and both may be repeated."""
    annotations = {"kubernetes.io/ingress-bandwidth": "20M", "kubernetes.io/egress-bandwidth": "10M"}
    pod = await kubelet.run("web", ports=[port(HOST_PORT, 80)], annotations=annotations)
    await kubelet.stop(pod)
    await kubelet.stop(pod)
    await kubelet.remove(pod)
    await remains.are_none()
    await kubelet.remove(pod)
    assert await kubelet.sandboxes() == set()


async def test_a_sandbox_killed_behind_the_back_is_cleaned_up(kubelet: Kubelet, remains: Remains) -> None:
    """When the sandbox's process was killed, Stop and Remove leave nothing."""
    pod = await kubelet.run("web", ports=[port(HOST_PORT, 80)])
    await _kill(kubelet, pod)
    await kubelet.end(pod)
    await remains.are_none()


async def test_a_namespace_removed_behind_the_back_is_cleaned_up(
    kubelet: Kubelet, client: AsyncClient, remains: Remains
) -> None:
    """When the namespace is gone as well, Stop and Remove leave nothing, and the addresses are free."""
    pod = await kubelet.run("web", ports=[port(HOST_PORT, 80)])
    await _kill(kubelet, pod)
    namespaces.remove(pod.netns.name)
    await kubelet.end(pod)
    await remains.are_none()
    assert all(pool.held == 0 for pool in (await client.status()).pools)


async def test_a_sandbox_made_anew_keeps_the_addresses(kubelet: Kubelet, node: Host, remains: Remains) -> None:
    """The same pod in a new sandbox has the addresses of the old one; the old one's late Stop changes nothing."""
    old = await kubelet.run("web", uid="pod-1")
    await _kill(kubelet, old)
    new = await kubelet.run("web", uid="pod-1", attempt=1)
    assert new.ips == old.ips
    await kubelet.end(old)
    for address in (new.ipv4, new.ipv6):
        assert seen_as(node, address)
    await kubelet.end(new)
    await remains.are_none()


@pytest.mark.timeout(600)
async def test_fifty_pods_started_eight_at_a_time(kubelet: Kubelet, node: Host, remains: Remains) -> None:
    """Fifty pods start eight at a time, each with addresses of its own that answer, and stop the same way."""
    lanes = asyncio.Semaphore(8)

    async def run(number: int) -> Pod:
        async with lanes:
            return await kubelet.run(f"pod-{number}")

    async def end(pod: Pod) -> None:
        async with lanes:
            await kubelet.end(pod)

    pods = await asyncio.gather(*map(run, range(50)))
    assert len({ip for pod in pods for ip in pod.ips}) == 100
    for pod in pods:
        assert seen_as(node, pod.ipv4)
        assert seen_as(node, pod.ipv6)
    await asyncio.gather(*map(end, pods))
    await remains.are_none()


async def _kill(kubelet: Kubelet, pod: Pod) -> None:
    """Kills the sandbox's process, and waits until containerd has noticed."""
    os.kill(pod.pid, signal.SIGKILL)

    async def noticed() -> bool:
        return not await kubelet.is_ready(pod)

    await until(noticed, "containerd notices that the sandbox is dead", within_s=20.0)
