"""The README says what is: its examples parse, its commands exist, its tables are complete."""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile, takewhile
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
DOCS = tuple(
    f"docs/{name}.md"
    for name in (
        "commands",
        "state-files",
        "settings",
        "network",
        "api",
        "cni",
        "runtimes",
        "metrics",
        "kernel",
        "policy",
    )
)
"""The reference, whose commands, documents and programs are tried here. The pages for playing and for who is on call
have tests of their own."""

TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", *DOCS)}
SERVICE = pb.DESCRIPTOR.services_by_name["WorkloadNetworking"]
LINE_MOST = 120


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[page], flags=re.MULTILINE | re.DOTALL)


def all_blocks(language: str) -> list[str]:
    return [block for page in TEXTS for block in blocks(language, page)]


def table(page: str) -> list[list[str]]:
    """The rows of a page's first table, cell by cell, without back quotes."""
    lines = iter(TEXTS[page].splitlines())
    rows = list(takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines)))
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


def shell_lines() -> list[str]:
    return [
        line.removeprefix("$ ") for block in all_blocks("console") for line in block.splitlines() if line[:2] == "$ "
    ]


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


def test_state_files_are_taken() -> None:
    """Every YAML block is a state file that the daemon would take."""
    found = [spec for block in all_blocks("yaml") for spec in parse("page.yaml", block.encode())]
    assert [spec.workload_id for spec in found] == ["web-3", "web-1", "db-1", "web-2", "dns-1", "db-1"]


def test_every_field_of_a_state_file_is_told() -> None:
    """The table of fields names those that a document has, no more and no fewer."""
    told = {row[0] for row in table("docs/state-files.md")}
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
    assert [(row[0], row[1]) for row in table("docs/settings.md")] == list(defaults.items())


def test_every_rpc_is_told() -> None:
    """The table of RPCs equals the contract, in its order."""
    assert [row[0] for row in table("docs/api.md")] == [method.name for method in SERVICE.methods]


@pytest.mark.parametrize("line", netplumb_lines())
def test_commands_exist_with_their_flags(line: str) -> None:
    """What the pages tell to type is understood: the command, every flag and argument."""
    command, _, _ = line.partition(" > ")  # into a file
    assert parsed(shlex.split(command, comments=True)[1:])


def test_commands_named_in_the_text_exist() -> None:
    """So are the commands that the text names in passing."""
    named = [words for text in TEXTS.values() for words in re.findall(r"`netplumb ([a-z ]+)`", text)]
    assert named
    for words in named:
        assert parsed(words.split()) == words.split()


def test_make_targets_exist() -> None:
    """`make` knows the targets that the pages name."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for text in TEXTS.values() for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", text)}
    assert {"run", "test"} <= named <= targets


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names something in the repository, and a heading of it where it says which."""
    here = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", here.read_text()):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        found = here.parent / path if path else here
        assert found.exists(), target
        assert not heading or heading in headings(found.read_text()), target


def test_every_page_is_found_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", TEXTS["README.md"]))
    assert {page for page in PAGES if page.count("/") < 2} - {"README.md"} <= linked
    assert set(DOCS) <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    """But in tables, and beyond the README in blocks, which show what commands print as it is."""
    lines = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL).splitlines()
    if page == "README.md":
        lines = TEXTS[page].splitlines()
    assert [line for line in lines if len(line) > LINE_MOST and not line.startswith("|")] == []


def headings(page: str) -> set[str]:
    """As links name them."""
    found = (line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in found}
