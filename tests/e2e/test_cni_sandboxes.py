"""A pod's sandbox that is stopped before the next one is made, as the kubelet does it: by the real plugin."""

from __future__ import annotations

import asyncio

from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Container, Runtime, addresses, installed, reaches

SMALL = ("10.213.0.0/29", "fd13::/125")  # five of IPv4, six of IPv6


def sandbox(runtime: Runtime, id_: str, netns: Host, uid: str = "0b1e") -> Container:
    return runtime.container(id_, netns, args=f"IgnoreUnknown=1;K8S_POD_UID={uid}")


async def test_the_next_one_has_the_same_addresses(
    start_daemon: StartDaemon, make_host: MakeHost, node: Host, web: Host, db: Host
) -> None:
    """Although others come meanwhile, the daemon is killed and the namespace is another."""
    daemon = await start_daemon(pools=SMALL)
    runtime = Runtime(node, installed(daemon))
    old = sandbox(runtime, "c1", web)
    result = old.add().result()
    old.delete().succeeded()
    others = [runtime.container(f"o{n}", make_host(f"w{n}")) for n in range(3)]
    others[0].add().result()
    daemon.kill9()
    await daemon.start()
    for other in others[1:]:
        other.add().result()
    again = sandbox(runtime, "c2", db).add().result()
    assert addresses(again) == addresses(result)
    await reaches(node, again)


async def test_a_full_pool_gives_them_to_others(
    start_daemon: StartDaemon, make_host: MakeHost, node: Host, web: Host, db: Host
) -> None:
    """What nobody uses never keeps a workload from starting; the pod has another address then."""
    daemon = await start_daemon(pools=SMALL)
    runtime = Runtime(node, installed(daemon))
    old = sandbox(runtime, "c1", web)
    result = old.add().result()
    old.delete().succeeded()
    others = [runtime.container(f"o{n}", make_host(f"w{n}")) for n in range(5)]
    given = [addresses(other.add().result())[0] for other in others]
    assert addresses(result)[0] in given
    others[0].delete().succeeded()
    assert addresses(sandbox(runtime, "c2", db).add().result())[0] == given[0]


async def test_for_no_longer_than_the_setting_says(start_daemon: StartDaemon, node: Host, web: Host, db: Host) -> None:
    daemon = await start_daemon(pools=SMALL)
    runtime = Runtime(node, installed(daemon))
    for grace_s, kept in ((0.5, False), (0, False), (30, True)):
        daemon.configure(pools=SMALL, pod_address_grace_s=grace_s)
        await daemon.restart()
        old = sandbox(runtime, "c1", web, uid=f"pod-{grace_s}")
        result = old.add().result()
        old.delete().succeeded()
        await asyncio.sleep(0.6)
        new = sandbox(runtime, "c2", db, uid=f"pod-{grace_s}")
        assert (addresses(new.add().result()) == addresses(result)) is kept, grace_s
        new.delete().succeeded()
