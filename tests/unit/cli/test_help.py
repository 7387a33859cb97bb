"""What each command's page tells to scripts and to those who wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from netplumb.api.cli.exits import Exit
from netplumb.reconciler.main import app


def commands(command: Any, name: str = "netplumb") -> Iterator[tuple[str, Any]]:
    """Each that does something, by all of its words."""
    if not isinstance(command, TyperGroup) or command.invoke_without_command:
        yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}")


COMMANDS = dict(commands(typer.main.get_command(app)))
ASKING = [name for name, it in COMMANDS.items() if any(param.name == "wait" for param in it.params)]


def page(name: str) -> str:
    command = COMMANDS[name]
    return " ".join(command.get_help(typer.Context(command, info_name=name)).split())


def test_there_are_commands() -> None:
    assert {"netplumb list", "netplumb plan", "netplumb plan attach", "netplumb cni install"} <= COMMANDS.keys()
    assert {"netplumb list", "netplumb plan attach"} <= set(ASKING)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_exit_codes(name: str) -> None:
    """Success first, and wrong usage, which every command can be given."""
    told = re.search(r"Exit codes: (.*?)\.(?: |$)", page(name))
    assert told is not None
    codes = [int(code) for code in re.findall(r"(?:^|, )(\d+) \w", told[1])]
    assert codes == sorted(codes)
    assert {0, 2} <= set(codes)


@pytest.mark.parametrize("name", ASKING)
def test_who_asks_the_daemon_is_told_each_code_that_may_come(name: str) -> None:
    told = page(name).partition("Exit codes: ")[2]
    assert all(re.search(rf"\b{code.value} \w", told) for code in Exit)


@pytest.mark.parametrize("name", ASKING)
def test_wait_says_what_for_and_how_long(name: str) -> None:
    assert "--wait If no daemon is running, wait for one, up to --timeout." in page(name)
