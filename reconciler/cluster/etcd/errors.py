"""What etcd may answer instead of what it was asked, once, in the words of the person who reads it."""

from __future__ import annotations

import re

import grpc

from netplumb.models.errors import NetplumbError

_COMPACTED = "required revision has been compacted"
_NOT_YET = "required revision is a future revision"
_TOO_LARGE = "message larger than max"
_NO_SPACE = "database space exceeded"
_NO_SPACE_ADVICE = "it is full and writes nothing before it is compacted, defragmented and its alarm disarmed"
_TOKEN_OUT = ("invalid auth token", "revision of auth store is old")


class EtcdError(NetplumbError):
    """A call to etcd failed."""


class Away(EtcdError):
    """Nobody answered, or could answer for the cluster. A write may have come true all the same."""


class Late(Away):
    """No answer came within the time that it was given."""


class TooLarge(Away):
    """An answer is larger than what is taken at once."""


class Compacted(EtcdError):
    """The revision that was asked for is no longer kept: what lies between is only to be had by comparison."""


class NotYet(EtcdError):
    """The revision that was asked for is one that etcd has not come to."""


class Refused(EtcdError):
    """etcd does not let this node do that, or not understand it. Only a person can heal it."""


class TokenInvalid(EtcdError):
    """The token has run out, or is of an etcd that was restarted; another one is to be asked for."""


def meaning(error: grpc.RpcError, endpoint: str, timeout_s: float, *, has_answered: bool) -> EtcdError:
    """Of a call that was to be answered within a time; `has_answered` is whether any was by this connection."""
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
    details = (error.details() if isinstance(error, grpc.aio.AioRpcError) else None) or "no answer"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Late(f"{endpoint}: did not answer within {timeout_s:g} s")
    if _NO_SPACE in details:
        return Refused(f"{endpoint}: {_NO_SPACE_ADVICE} ({details})")
    words = f"{endpoint}: {_ended(details) if has_answered else _advice(endpoint, details)}"
    if _COMPACTED in details:
        return Compacted(words)
    if _NOT_YET in details:
        return NotYet(words)
    if _TOO_LARGE in details:
        return TooLarge(words)
    if any(it in details for it in _TOKEN_OUT):
        return TokenInvalid(words)
    if code in _REFUSALS:
        return Refused(words)
    return Away(words)


def _advice(endpoint: str, details: str) -> str:
    """What to change, before what gRPC says, where that is known by it."""
    for said, of_scheme, words in _ADVICE:
        if said in details and endpoint.startswith(of_scheme):
            return f"{words} ({details.rpartition('last error: ')[2]})"
    return _ended(details)


def _ended(details: str) -> str:
    """In gRPC's words for it there is an address, written otherwise than in the settings."""
    if found := _NOT_REACHED.search(details):
        return f"cannot be reached: {found[1]}"
    return f"it hung up ({details})" if "Socket closed" in details else details


_NOT_REACHED = re.compile(r"last error: .*(?:Failed to connect to remote host:|connect failed: .* error:) (.+)\Z")


_ADVICE = (
    ("certificate has expired", "https:", "its certificate has run out, or the clock of one of the two is wrong"),
    ("CERTIFICATE_VERIFY_FAILED", "https:", "its certificate is not signed by the authority in `ca`"),
    ("Hostname Verification Check failed", "https:", "its certificate is not for this name; see `endpoints`"),
    ("Unwrap failed", "https:", "it does not take this node's certificate; see `cert` and `key`"),
    ("Handshake read failed", "https:", "it does not speak TLS, it seems: `endpoints` would begin with http then"),
    ("Socket closed", "http:", "it hung up; where it speaks TLS, `endpoints` begin with https"),
)
"""What gRPC says of a connection that cannot be made, for which scheme, and the settings that it depends on."""

_REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
)
