"""What a kubelet says to containerd, over its Container Runtime Interface."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from tests.e2e.waiting import until
from tests.runtimes.cri import runtime_pb2 as cri
from tests.runtimes.cri import runtime_pb2_grpc as rpc

CALL_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs or ran: the sandbox's id, the pod's UID, and its addresses as PodSandboxStatus told them."""

    sandbox: str
    uid: str
    netns: Path
    pid: int
    ips: tuple[str, ...]

    @property
    def ipv4(self) -> str:
        return next(ip for ip in self.ips if ":" not in ip)

    @property
    def ipv6(self) -> str:
        return next(ip for ip in self.ips if ":" in ip)


class Kubelet:
    """An asynchronous context manager; one connection, any number of calls at a time."""

    def __init__(self, socket: Path, cgroup: str) -> None:
        self._socket = socket
        self._cgroup = cgroup

    async def __aenter__(self) -> Self:
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=options)
        self.runtime = rpc.RuntimeServiceStub(self._channel)
        self.images = rpc.ImageServiceStub(self._channel)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def run(
        self,
        name: str,
        *,
        uid: str = "",
        attempt: int = 0,
        ports: Sequence[cri.PortMapping] = (),
        annotations: Mapping[str, str] | None = None,
        dns: cri.DNSConfig | None = None,
    ) -> Pod:
        """Runs a pod's sandbox, as the first thing that a kubelet does for a pod."""
        uid = uid or str(uuid.uuid4())
        metadata = cri.PodSandboxMetadata(name=name, uid=uid, namespace="default", attempt=attempt)
        config = cri.PodSandboxConfig(
            metadata=metadata,
            hostname=name,
            dns_config=dns,
            port_mappings=ports,
            annotations=annotations,
            linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"/{self._cgroup}"),
        )
        run = await self.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config), timeout=CALL_WITHIN_S)
        status = await self.status(run.pod_sandbox_id)
        info = json.loads(status.info["info"])
        return Pod(
            sandbox=run.pod_sandbox_id,
            uid=uid,
            netns=_netns(info),
            pid=info["pid"],
            ips=_ips(status.status),
        )

    async def status(self, sandbox: str) -> cri.PodSandboxStatusResponse:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
        return await self.runtime.PodSandboxStatus(request, timeout=CALL_WITHIN_S)

    async def ips(self, pod: Pod) -> tuple[str, ...]:
        return _ips((await self.status(pod.sandbox)).status)

    async def is_ready(self, pod: Pod) -> bool:
        return (await self.status(pod.sandbox)).status.state == cri.SANDBOX_READY

    async def stop(self, pod: Pod) -> None:
        await self._stop(pod.sandbox)

    async def remove(self, pod: Pod) -> None:
        await self._remove(pod.sandbox)

    async def end(self, pod: Pod) -> None:
        await self.end_sandbox(pod.sandbox)

    async def end_sandbox(self, sandbox: str) -> None:
        """Ends one that no Pod is known for, since it did not come to run."""
        await self._stop(sandbox)
        await self._remove(sandbox)

    async def _stop(self, sandbox: str) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        await self.runtime.StopPodSandbox(request, timeout=CALL_WITHIN_S)

    async def _remove(self, sandbox: str) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
        await self.runtime.RemovePodSandbox(request, timeout=CALL_WITHIN_S)

    async def sandboxes(self) -> set[str]:
        return {pod.id for pod in (await self.runtime.ListPodSandbox(cri.ListPodSandboxRequest())).items}

    async def network_ready(self) -> bool:
        """The condition that tells a kubelet whether it may start pods at all."""
        status = (await self.runtime.Status(cri.StatusRequest(), timeout=CALL_WITHIN_S)).status
        return next(condition.status for condition in status.conditions if condition.type == "NetworkReady")

    async def until_network_ready(self) -> None:
        await until(self.network_ready, "NetworkReady", within_s=CALL_WITHIN_S)


def port(host: int, container: int) -> cri.PortMapping:
    return cri.PortMapping(protocol=cri.TCP, container_port=container, host_port=host)


def _ips(status: cri.PodSandboxStatus) -> tuple[str, ...]:
    """The pod's addresses, the first of them the one that it is known by."""
    network = status.network
    return tuple(ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip)


def _netns(info: Mapping[str, object]) -> Path:
    spec = info["runtimeSpec"]
    assert isinstance(spec, dict)
    return Path(next(entry["path"] for entry in spec["linux"]["namespaces"] if entry["type"] == "network"))
