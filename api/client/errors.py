"""What a call raises. One kind for each status that the daemon answers with, so that a program need not know gRPC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc

from netplumb.api.client.remote import Remote, words
from netplumb.api.unixsocket import who_has_access


class ClientError(Exception):
    """A call failed. `code` is the gRPC status, `message` one line for a person.

    Example:
        try:
            client.get("nobody")
        except netplumb.NotFound as error:
            print(error.message)
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[Callable[..., ClientError], tuple[type[ClientError], grpc.StatusCode, str]]:
        return _again, (type(self), self.code, self.message)  # a worker process hands it to another


class InvalidArgument(ClientError):
    """The request is wrong in itself; the message names the field. Nothing was recorded."""


class NotFound(ClientError):
    """There is no such attachment."""


class AlreadyExists(ClientError):
    """Another holds the key, an address or a port; the message names the holder."""


class FailedPrecondition(ClientError):
    """The path is no network namespace or the node's own, a state file declares the attachment, or the kernel lacks
    what was asked for."""


class ResourceExhausted(ClientError):
    """The pool that the message names has no address left, or a limit is reached."""


class Aborted(ClientError):
    """Another call changed the wish while this one waited for it."""


class DeadlineExceeded(ClientError):
    """The kernel does not agree yet; the message says which step failed. The daemon keeps trying."""


class Unavailable(ClientError):
    """The daemon cannot do this now: it has no pools yet, or its store cannot be written."""


class PermissionDenied(ClientError):
    """The daemon elsewhere gives the holder of this certificate no role, or one that may read alone."""


class Unreachable(Unavailable):
    """No daemon answered before the deadline, or the caller has no access to it."""

    def __init__(self, where: Path | Remote, cause: OSError | None) -> None:
        if isinstance(where, Path) and isinstance(cause, PermissionError):
            message = f"no access to {where}: {cause.strerror}; {who_has_access(where)}"
        else:
            message = f"no daemon answers on {where}: the connection broke" if cause is None else words(where, cause)
        super().__init__(grpc.StatusCode.UNAVAILABLE, message)


def _again(kind: type[ClientError], code: grpc.StatusCode, message: str) -> ClientError:
    error = kind.__new__(kind, message)
    ClientError.__init__(error, code, message)
    return error


_KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def client_error(code: grpc.StatusCode, message: str) -> ClientError:
    """The error of this status; a plain ClientError where it has no kind of its own."""
    return _KINDS.get(code, ClientError)(code, message)
