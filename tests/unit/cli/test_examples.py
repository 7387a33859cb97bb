"""Every command's help page shows how it is used, in lines that the command would take."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from netplumb.api.cli.examples import EXAMPLES
from netplumb.reconciler.main import app
from tests.unit.cli.test_pages import COMMANDS


def test_every_command_has_examples_and_no_other() -> None:
    assert {" ".join(names) for names in COMMANDS} == EXAMPLES.keys()


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_a_page_shows_its_examples(names: tuple[str, ...]) -> None:
    """Whole, so that they can be copied."""
    page = CliRunner().invoke(app, [*names, "-h"], prog_name="netplumb", env={"COLUMNS": "80"}).stdout
    for line, meaning in EXAMPLES[" ".join(names)]:
        assert f"\n  {line}\n      {meaning}\n" in page


LINES = [(command, line) for command, examples in EXAMPLES.items() for line, _ in examples]


@pytest.mark.parametrize(("command", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_is_of_its_command_and_parses(command: str, line: str) -> None:
    """Except for the first page, whose examples are of any."""
    name, *words = shlex.split(line.partition(" > ")[0])
    assert name == "netplumb"
    parsed = typer.main.get_command(app)
    led = []
    while isinstance(parsed, TyperGroup) and words and words[0] in parsed.commands:
        led.append(words[0])
        parsed, words = parsed.commands[words[0]], words[1:]
    parsed.make_context("netplumb", words)
    assert not command or " ".join(led) == command or " ".join(led).startswith(f"{command} ")
