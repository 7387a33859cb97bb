"""Help pages of every command, and mistakes of usage, on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from netplumb.reconciler.main import app


def commands(command: object, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, *names, name)


COMMANDS = list(commands(typer.main.get_command(app)))


def netplumb(*words: str, columns: int = 80, **environ: str) -> Result:
    return CliRunner().invoke(app, words, prog_name="netplumb", env={"COLUMNS": str(columns), **environ})


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_a_page_fits_80_columns_and_breaks_no_word(names: tuple[str, ...]) -> None:
    """`-h` and `--help` show the same page, whose words are those of a page that had the room."""
    page = netplumb(*names, "-h")
    assert page.exit_code == 0
    assert max(map(len, page.stdout.splitlines())) <= 80
    assert page.stdout.split() == netplumb(*names, "--help", columns=400).stdout.split()
    assert " ".join(["Usage:", "netplumb", *names]) in page.stdout
    assert "…" not in page.stdout.replace("NETPLUMB_…", "")


def test_every_option_of_a_command_is_on_its_page_as_it_is_typed() -> None:
    page = netplumb("attach", "-h").stdout.split()
    assert {"--no-isolate-workloads", "--allow-foreign-address", "--socket"} <= set(page)


@pytest.mark.parametrize(
    "words",
    [
        ("attach", "web"),
        ("attach", "web", "--netns", "blue", "--port", "0.0.0.0:80:80/nonsense-of-a-protocol", "--port", "eighty"),
        ("attach", "web", "--netns", "blue", "--an-option-that-is-longer-than-most-and-is-not-there-at-all"),
        ("atach",),
        ("config", "show", "--resync-s", "often", "--pool", "10.0.0.0/8"),
        ("config", "show", "--pool", "10.0.0.1/8", "--pool", "fd00::/999"),
    ],
)
def test_a_mistake_fits_80_columns_and_breaks_no_word(words: tuple[str, ...]) -> None:
    result = netplumb(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert max(map(len, result.stderr.splitlines())) <= 80
    assert result.stderr.split() == netplumb(*words, columns=400).stderr.split()


def test_a_group_without_a_command_shows_its_page() -> None:
    result = netplumb("cni")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "uninstall" in result.stderr


def test_the_version_is_told() -> None:
    result = netplumb("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("netplumb ")


def test_every_command_tells_of_a_mistyped_variable() -> None:
    """It is known before the command's own words are looked at, and spoils no output."""
    result = netplumb("schema", NETPLUMB_SOKET="/tmp/x.sock")
    assert result.exit_code == 0
    assert result.stdout.startswith("{")
    assert result.stderr == "netplumb: warning: NETPLUMB_SOKET: is unknown; did you mean NETPLUMB_SOCKET?\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list -o xml", "'--output' / '-o': 'xml' is not one of 'table', 'wide'"),
        ("wait web --for xml", "'--for': 'xml' is not one of 'attached', "),
        ("doctor -o xml", "'--output' / '-o': 'xml' is not one of 'table', 'json', "),
        ("doctor --skip clock --skip dsik", "--skip: dsik is unknown; did you mean disk?"),
        ("attach web --netns web --mtu 70000", "'--mtu': must be less than or equal to 65535"),
        ("config show --resync-s often", "'--resync-s': must be a valid number"),
    ],
)
def test_a_wrong_value_is_told_without_words_of_programs(words: str, said: str) -> None:
    result = netplumb(*words.split(), columns=400)
    assert result.exit_code == 2
    assert f"netplumb: Invalid value for {said}" in result.stderr
