"""A gRPC server like the daemon's, within the same limits, whose Attach does nothing: the floor of any call. A process
of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from netplumb.api.server.server import OPTIONS, SERVICE
from netplumb.api.unixsocket import grpc_address
from netplumb.api.v1 import netplumb_pb2 as pb

ANSWER = pb.AttachResponse(ip=[bytes(4), bytes(16)])


async def attach(request: pb.AttachRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.AttachResponse:
    return ANSWER


async def serve(socket: Path) -> None:
    server = grpc.aio.server(options=OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(
        attach,
        request_deserializer=pb.AttachRequest.FromString,
        response_serializer=pb.AttachResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Attach": handler}),))
    server.add_insecure_port(grpc_address(socket))
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
