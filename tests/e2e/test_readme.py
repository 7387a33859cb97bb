"""The README says what is: its examples parse, its commands exist, its tables are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentSpec
from netplumb.models.settings import Settings
from netplumb.models.statefile import AttachmentDocument
from netplumb.reconciler.main import app
from netplumb.reconciler.sources.statefile import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = ("docs/lab.md", "docs/operations.md", "docs/runtimes.md")
RUNTIMES = (ROOT / "docs" / "runtimes.md").read_text()
SERVICE = pb.DESCRIPTOR.services_by_name["WorkloadNetworking"]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without back quotes."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


def shell_lines() -> list[str]:
    told = [*blocks("console"), *blocks("console", RUNTIMES)]
    return [line.removeprefix("$ ") for block in told for line in block.splitlines() if line[:2] == "$ "]


def netplumb_lines() -> list[str]:
    return [line for line in shell_lines() if line.startswith("netplumb ")]


def parsed(words: list[str]) -> list[str]:
    """The words after `netplumb`, parsed as the command would and not carried out. Returns the names of the commands
    that they lead through; raises a usage error for what does not exist."""
    command = typer.main.get_command(app)
    names = []
    while isinstance(command, TyperGroup) and words and words[0] in command.commands:
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    command.make_context("netplumb", list(words))
    return names


def test_state_files_of_the_readme_are_taken() -> None:
    """Every YAML block is a state file that the daemon would take."""
    found = [spec for block in blocks("yaml") for spec in parse("README.md", block.encode())]
    assert [spec.workload_id for spec in found] == ["web-1", "db-1", "web-2", "dns-1"]


def test_every_field_of_a_state_file_is_told() -> None:
    """The table of fields names those that a document has, no more and no fewer."""
    told = {row[0] for row in table("State files")}
    assert told == {*AttachmentSpec.model_fields, "kind"} == set(AttachmentDocument.model_fields)


def _default_words(value: object) -> str:
    match value:
        case None | []:
            return "none"
        case list():
            return ", ".join(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def test_every_setting_is_told_with_its_default() -> None:
    """The table of settings equals the model, in its order."""
    defaults = {name: _default_words(value) for name, value in Settings().model_dump(mode="json").items()}
    assert [(row[0], row[1]) for row in table("Settings")] == list(defaults.items())


def test_every_rpc_is_told() -> None:
    """The table of RPCs equals the contract, in its order."""
    assert [row[0] for row in table("The RPCs")] == [method.name for method in SERVICE.methods]


@pytest.mark.parametrize("line", netplumb_lines())
def test_commands_exist_with_their_flags(line: str) -> None:
    """What the README and the page about runtimes tell to type is understood: the command, every flag and argument."""
    command, _, _ = line.partition(" > ")  # into a file
    assert parsed(shlex.split(command, comments=True)[1:])


def test_commands_named_in_the_text_exist() -> None:
    """So are the commands that the text names in passing."""
    named = re.findall(r"`netplumb ([a-z ]+)`", README)
    assert named
    for words in named:
        assert parsed(words.split()) == words.split()


def test_make_targets_exist() -> None:
    """`make` knows the targets that the README names."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README))
    assert {"run", "test"} <= named <= targets


def test_links_lead_somewhere() -> None:
    """Every relative link names something in the repository, and a heading of it where it says which."""
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, heading = target.partition("#")
        page = ROOT / (path or "README.md")
        assert page.exists(), target
        assert not heading or heading in headings(page.read_text()), target


def headings(page: str) -> set[str]:
    """As links name them."""
    return {line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("#")}
