"""Errors of the clients are values: copied, and handed from one process to another."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.errors import ClientError, NotFound, Unreachable

ERRORS = (
    ClientError(grpc.StatusCode.INTERNAL, "a mistake"),
    NotFound(grpc.StatusCode.NOT_FOUND, "no attachment web/eth0"),
    Unreachable(Path("/run/netplumb/workloadnet.sock"), FileNotFoundError(2, "No such file or directory")),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_behind_a_pipe(error: ClientError) -> None:
    """As worker processes hand them to those that wait for their results."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (again.code, again.message, str(again)) == (error.code, error.message, str(error))
