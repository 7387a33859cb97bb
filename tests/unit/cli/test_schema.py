"""`netplumb schema` prints what the models say, one or all."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from netplumb.models.schemas import DOCUMENTS, schema
from netplumb.reconciler.main import app


def netplumb(*words: str) -> Result:
    return CliRunner().invoke(app, ["schema", *words], prog_name="netplumb")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_one_is_printed_by_itself(name: str) -> None:
    """As a file that an editor reads; a kind may be written as in a document."""
    assert json.loads(netplumb(name).stdout) == json.loads(netplumb(name.title()).stdout) == schema(name)


def test_all_are_printed_by_name() -> None:
    assert json.loads(netplumb().stdout) == {name: schema(name) for name in DOCUMENTS}


def test_an_unknown_kind_is_refused_and_the_known_are_named() -> None:
    result = netplumb("pod")
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(name in result.stderr for name in DOCUMENTS)


def test_the_help_names_every_kind() -> None:
    assert set(DOCUMENTS) <= set(netplumb("--help").stdout.replace(",", " ").replace(";", " ").split())
