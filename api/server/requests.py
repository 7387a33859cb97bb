"""Requests as they come off the wire, on their way into the servicer.

What is no message of its type becomes an InvalidRequest, which the servicer answers as any other. gRPC would answer
UNKNOWN with the name of a Python class, and log a traceback for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1.netplumb_pb2_grpc import WorkloadNetworkingServicer
from netplumb.models.errors import InvalidRequest

_SERVICE = pb.DESCRIPTOR.services_by_name["WorkloadNetworking"]


Behaviour: TypeAlias = Callable[[Any, Any], Any]
"""What answers a method: a coroutine function, or for a stream an async generator function."""


class Guard(Protocol):
    def __call__(self, method: str, behaviour: Behaviour, *, streams: bool) -> Behaviour: ...


def unguarded(method: str, behaviour: Behaviour, *, streams: bool) -> Behaviour:  # noqa: ARG001
    """Whoever may connect to the socket may do all."""
    return behaviour


def register(servicer: WorkloadNetworkingServicer, server: grpc.aio.Server, guard: Guard = unguarded) -> None:
    """Puts the service's methods on the server, as the generated function would, but for how requests are parsed."""
    handlers = {method.name: _handler(servicer, method, guard) for method in _SERVICE.methods}
    server.add_registered_method_handlers(_SERVICE.full_name, handlers)


def _handler(
    servicer: WorkloadNetworkingServicer, method: MethodDescriptor, guard: Guard
) -> grpc.RpcMethodHandler[Message | InvalidRequest, Message]:
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    behaviour = guard(method.name, getattr(servicer, method.name), streams=method.server_streaming)
    return make(
        behaviour,
        request_deserializer=parser(GetMessageClass(method.input_type)),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def parser(message: type[Message]) -> Callable[[bytes], Message | InvalidRequest]:
    """From bytes to the message, or to the refusal that says that they are none."""
    parse = message.FromString

    def parsed(data: bytes) -> Message | InvalidRequest:
        try:
            return parse(data)
        except DecodeError as error:
            why = str(error).rpartition(": ")[2]  # before it stands what only repeats the name
            return InvalidRequest("", f"the request is not a {message.DESCRIPTOR.full_name}: {why}")

    return parsed
