"""What go-cni gives a Go program, for an orchestrator in Python: a workload's interfaces, from a netplumb daemon.

Example:
    async with AsyncCNI() as cni:
        ports = [PortMapping(host_port=8080, container_port=80)]
        result = await cni.setup("3f1e9a", "/run/netns/web", capabilities={"portMappings": ports})
        print(result.interfaces["eth0"].ip_configs)

`CNI` is the same for code without an event loop, from any thread. Each network that is loaded is one interface of a
workload, and without any there is one. A call that fails raises `netplumb.ClientError`, or one of the kinds of it; a
check that finds something, `NotInSync`.
"""

from netplumb.api.client.errors import ClientError, NotFound
from netplumb.api.cniproxy.asynchronous import AsyncCNI, Config, NotInitialized, NotInSync
from netplumb.api.cniproxy.synchronous import CNI
from netplumb.api.cniproxy.words import Capabilities, InterfaceConfig, IPConfig, Network, Result, Route
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.ports import PortMapping
from netplumb.models.routing import Dns

__all__ = [
    "CNI",
    "AsyncCNI",
    "Bandwidth",
    "Capabilities",
    "ClientError",
    "Config",
    "Dns",
    "IPConfig",
    "InterfaceConfig",
    "Network",
    "NotFound",
    "NotInSync",
    "NotInitialized",
    "PortMapping",
    "Result",
    "Route",
]
