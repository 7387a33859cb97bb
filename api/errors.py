"""Which gRPC status answers which error: the one place that knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import grpc

from netplumb.api.text import printable, within_bytes
from netplumb.models import errors

MESSAGE_MAX_BYTES = 2000
"""A status message travels as a header, percent-encoded: three times this stays below gRPC's limit of 8 KiB."""

ANSWERED = ("netplumb-answered", "1")
"""Trailing metadata that marks a status as the daemon's own: gRPC makes UNAVAILABLE of a broken connection too."""

INTERNAL_MESSAGE = "internal error; see the daemon's log"

CODES: Mapping[type[BaseException], grpc.StatusCode] = MappingProxyType(
    {
        errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
        errors.NotANetworkNamespace: grpc.StatusCode.FAILED_PRECONDITION,
        errors.HeldBySource: grpc.StatusCode.FAILED_PRECONDITION,
        errors.AlreadyHeld: grpc.StatusCode.ALREADY_EXISTS,
        errors.PoolExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.TooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.NotReady: grpc.StatusCode.UNAVAILABLE,
        errors.NotFound: grpc.StatusCode.NOT_FOUND,
        errors.Superseded: grpc.StatusCode.ABORTED,
        errors.NotConverged: grpc.StatusCode.DEADLINE_EXCEEDED,
        errors.StoreUnwritable: grpc.StatusCode.UNAVAILABLE,
        errors.Retryable: grpc.StatusCode.UNAVAILABLE,
        errors.DumpInterrupted: grpc.StatusCode.UNAVAILABLE,
        errors.TooLarge: grpc.StatusCode.UNAVAILABLE,
        errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
        errors.Terminal: grpc.StatusCode.FAILED_PRECONDITION,
    }
)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The code and the message for a client. What nobody foresaw is INTERNAL, and its text stays in the log."""
    for cls in type(error).__mro__:
        if (code := CODES.get(cls)) is not None:
            return code, within_bytes(printable(str(error)), MESSAGE_MAX_BYTES)
    return grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE
