"""netplumb gives workloads their network on a Linux node. This is what programs import.

Example:
    from netplumb import AsyncClient, Client, messages

`Client` and `AsyncClient` have the same calls; `messages` are those of the contract, `netplumb.v1`. A call that fails
raises a `ClientError`, or the kind of it that its status has. `netplumb.api.cniproxy` has the calls of go-cni.

Nothing is loaded until it is asked for: the CNI plugin and `netplumb --help` come through here, and know no gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.client.errors import (
        Aborted,
        AlreadyExists,
        ClientError,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        ResourceExhausted,
        Unavailable,
        Unreachable,
    )
    from netplumb.api.client.remote import Remote
    from netplumb.api.client.synchronous import Client
    from netplumb.api.v1 import netplumb_pb2 as messages

    __version__: str

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "Remote",
    "ResourceExhausted",
    "Unavailable",
    "Unreachable",
    "__version__",
    "messages",
]


if not TYPE_CHECKING:  # or every name would pass for one of ours

    def __getattr__(name: str) -> object:
        match name:
            case "__version__":
                from importlib.metadata import version

                found: object = version("netplumb")
            case "messages":
                found = import_module("netplumb.api.v1.netplumb_pb2")
            case "AsyncClient":
                found = import_module("netplumb.api.client.asynchronous").AsyncClient
            case "Client":
                found = import_module("netplumb.api.client.synchronous").Client
            case "Remote":
                found = import_module("netplumb.api.client.remote").Remote
            case _ if name in __all__:
                found = getattr(import_module("netplumb.api.client.errors"), name)
            case _:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found  # asked for once
        return found


def __dir__() -> list[str]:
    return __all__
