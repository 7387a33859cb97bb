"""Which CNI error answers which error of ours: the one place that knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from netplumb.api.cni.spec import CniError, Code
from netplumb.api.errors import INTERNAL_MESSAGE
from netplumb.api.text import printable
from netplumb.models import errors

CODES: Mapping[type[BaseException], tuple[Code, str]] = MappingProxyType(
    {
        errors.InvalidRequest: (Code.INVALID_CONFIG, "the request is wrong"),
        errors.NotANetworkNamespace: (Code.INVALID_ENVIRONMENT, "CNI_NETNS is not a workload's network namespace"),
        errors.HeldBySource: (Code.HELD_BY_ANOTHER, "held by another"),
        errors.AlreadyHeld: (Code.HELD_BY_ANOTHER, "held by another"),
        errors.PoolExhausted: (Code.TRY_AGAIN_LATER, "no address is free"),
        errors.TooMany: (Code.TRY_AGAIN_LATER, "the daemon is asked too much at once"),
        errors.NotReady: (Code.TRY_AGAIN_LATER, "netplumb is not ready"),
        errors.NotFound: (Code.UNKNOWN_CONTAINER, "the container is not attached"),
        errors.Superseded: (Code.TRY_AGAIN_LATER, "another command for the same interface came in between"),
        errors.NotConverged: (Code.TRY_AGAIN_LATER, "the kernel does not agree yet"),
        errors.StoreUnwritable: (Code.TRY_AGAIN_LATER, "nothing could be recorded"),
        errors.Retryable: (Code.TRY_AGAIN_LATER, "the kernel refused, which may pass"),
        errors.DumpInterrupted: (Code.TRY_AGAIN_LATER, "what is to be read changes all the time"),
        errors.Outdated: (Code.TRY_AGAIN_LATER, "another wish came meanwhile"),
        errors.TooLarge: (Code.TRY_AGAIN_LATER, "what the workload holds is too much to be read"),
        errors.Conflict: (Code.HELD_BY_ANOTHER, "something that is not netplumb's is in the way"),
        errors.Terminal: (Code.FAILED, "the kernel refused"),
    }
)


def cni_error(error: BaseException) -> CniError:
    """What a runtime is told. What nobody foresaw is INTERNAL, and its text stays in the log."""
    if isinstance(error, CniError):
        return error
    for cls in type(error).__mro__:
        if (found := CODES.get(cls)) is not None:
            return CniError(*found, printable(str(error)))
    return CniError(Code.INTERNAL, INTERNAL_MESSAGE)
