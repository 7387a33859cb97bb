"""Every error of ours has a code of CNI, and no more than it should is told."""

from __future__ import annotations

import inspect

import pytest

from netplumb.api.cni.errors import CODES, cni_error
from netplumb.api.cni.spec import CniError, Code
from netplumb.models import errors

OURS = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.NetplumbError) and cls not in (errors.NetplumbError, errors.StepError, errors.Refusal)
]


@pytest.mark.parametrize("cls", OURS)
def test_every_error_has_a_code(cls: type[errors.NetplumbError]) -> None:
    """A new class of errors must say what runtimes are told of it."""
    assert cls in CODES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotReady("no pools"), Code.TRY_AGAIN_LATER),
        (errors.PoolExhausted("all held"), Code.TRY_AGAIN_LATER),
        (errors.NotConverged("EBUSY"), Code.TRY_AGAIN_LATER),
        (errors.Retryable("EBUSY"), Code.TRY_AGAIN_LATER),
        (errors.NotFound("none"), Code.UNKNOWN_CONTAINER),
        (errors.NotANetworkNamespace("/etc"), Code.INVALID_ENVIRONMENT),
        (errors.InvalidRequest("mtu", "too small"), Code.INVALID_CONFIG),
        (errors.AlreadyHeld("held by rpc"), Code.HELD_BY_ANOTHER),
        (errors.Conflict("eth0 is not ours"), Code.HELD_BY_ANOTHER),
        (errors.Terminal("EINVAL"), Code.FAILED),
        (errors.Terminal("EINVAL"), 100),
    ],
)
def test_codes(error: Exception, code: int) -> None:
    """What passes is 11, what no repetition heals is 7 or one of our own, and the cause is in the details."""
    told = cni_error(error)
    assert told.code == code
    assert told.details == str(error)
    assert told.message


def test_what_nobody_foresaw_stays_in_the_log() -> None:
    """A runtime is told that something went wrong, and not what was in the exception."""
    told = cni_error(RuntimeError("secret"))
    assert told.code is Code.INTERNAL
    assert "secret" not in str(told)


def test_an_error_of_cni_is_told_as_it_is() -> None:
    error = CniError(Code.UNSUPPORTED_FIELD, "ipam: {}")
    assert cni_error(error) is error


def test_details_are_one_line() -> None:
    assert cni_error(errors.Terminal("two\nlines")).details == "two\\nlines"
