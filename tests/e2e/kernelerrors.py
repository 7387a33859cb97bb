"""Errors that a call to the kernel may meet, how they are dealt out to calls, and the words in which they are told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import replace

from tests.e2e.faults import Fault, Kind

EVERY_ERROR = os.environ.get("FAULT_SWEEPS") == "all"
"""Whether each call meets every error, which takes long, or only some of them in turn."""

ERRORS = (
    *(Fault(Kind.REFUSE, code=code) for code in (errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EINTR)),
    *(Fault(Kind.REFUSE, code=code) for code in (errno.ENODEV, errno.EEXIST)),
    Fault(Kind.SEND, code=errno.ENOBUFS),
    *(Fault(Kind.RECEIVE, code=code) for code in (errno.ETIMEDOUT, errno.ENOBUFS)),
)

LIES = (errno.ENODEV, errno.EEXIST)
"""What a kernel that tells the truth says only of what is gone, or is there. Told of what is not, it is believed until
the next full comparison."""

EXIT_STRANDED = 70  # a thread could not come back from a namespace


def offsets(usually: Iterable[int]) -> Iterable[int]:
    """With which error a sweep begins; with every offset, each call meets every error."""
    return range(len(ERRORS)) if EVERY_ERROR else usually


def in_turn(at: int, offset: int) -> Fault:
    """The error of one call of a sweep."""
    return replace(ERRORS[(at + offset) % len(ERRORS)], at=at)


def is_lie(fault: Fault) -> bool:
    return fault.kind is Kind.REFUSE and fault.code in LIES


def told_in(text: str, fault: Fault) -> bool:
    """Whether a text says what the kernel said."""
    return any(words in text for words in (errno.errorcode[fault.code], os.strerror(fault.code), "not answer"))
