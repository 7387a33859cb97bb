"""The errors that cross layers, each with the words that its reader needs.

Two families. `StepError` is what the kernel answered to one step; the loop decides by its class whether a retry can
heal it. `Refusal` is what a client is told; the API maps each class to one gRPC code and adds nothing to the message.
"""

from __future__ import annotations

import errno as errno_names


def errno_name(code: int) -> str:
    """The symbolic name of an errno: `EEXIST` for 17, `errno 4711` for one that Python has no name for."""
    return errno_names.errorcode.get(code, f"errno {code}")


class NetplumbError(Exception):
    """The root of all that netplumb raises on purpose."""


class StepError(NetplumbError):
    """A step towards the desired state failed.

    `reason` is a CamelCase word for the condition, `subject` the object in a network engineer's words.
    """

    reason = "StepFailed"

    def __init__(self, message: str, *, subject: str = "", code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.subject = subject
        self.code = code
        if reason:
            self.reason = reason

    @property
    def wants_root(self) -> bool:
        """Whether the kernel refused it for want of rights."""
        return self.code in (errno_names.EPERM, errno_names.EACCES)


class Retryable(StepError):
    """The same step may succeed later; `after_s` is a hint, None leaves the wait to the loop's backoff."""

    def __init__(
        self, message: str, *, subject: str = "", code: int = 0, reason: str = "", after_s: float | None = None
    ) -> None:
        super().__init__(message, subject=subject, code=code, reason=reason)
        self.after_s = after_s


class TooLarge(Retryable):
    """What is to be read is more than is ever read of it. Only who fills it up can heal that."""

    reason = "TooLarge"


class DumpInterrupted(Retryable):
    """What is to be read changes all the time, so that no read of it is of one moment."""

    reason = "DumpInterrupted"


class Outdated(Retryable):
    """Another wish came while the one before was carried out, and what it wants may be another's by now."""

    reason = "WishChanged"


class Terminal(StepError):
    """No repetition heals it while the wish and the node stay as they are. A waiting client is told at once."""


class Conflict(Terminal):
    """Something that is not ours stands where our object must go. It is named and never touched."""

    reason = "Conflict"


class Refusal(NetplumbError):
    """A request that is answered with an error. The message is for the person who reads it. One that `is_told` is kept
    as an event, which is logged, and need not be logged again by who answers it."""

    is_told = False


class InvalidRequest(Refusal):
    """The request is wrong in itself; `field` names the part, in the words of the proto (INVALID_ARGUMENT)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class NotANetworkNamespace(Refusal):
    """The path is not a network namespace, or is the node's own (FAILED_PRECONDITION)."""


class HeldBySource(Refusal):
    """The attachment is declared by a source that the caller may not override (FAILED_PRECONDITION)."""


class AlreadyHeld(Refusal):
    """A key, an address or a name is held by another, who is named (ALREADY_EXISTS)."""


class PoolExhausted(Refusal):
    """Every address of the pools of one family is held (RESOURCE_EXHAUSTED)."""


class TooMany(Refusal):
    """The daemon has as many of these as it holds or serves at a time (RESOURCE_EXHAUSTED)."""


class NotReady(Refusal):
    """The daemon cannot serve this yet, for example since it has no pools (UNAVAILABLE)."""


class NotFound(Refusal):
    """No attachment has this key (NOT_FOUND)."""


class Superseded(Refusal):
    """The wish that the caller waits for was detached or replaced by a later one (ABORTED)."""


class NotConverged(Refusal):
    """The deadline passed before the loop converged; the message names the failed step (DEADLINE_EXCEEDED)."""


class StoreUnwritable(Refusal):
    """Desired state could not be made durable, so nothing was changed (UNAVAILABLE)."""
