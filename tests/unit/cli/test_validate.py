"""`netplumb validate` says of files what the daemon would say of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from netplumb.reconciler.main import app
from netplumb.reconciler.sources import directory
from netplumb.reconciler.sources.statefile import StateFileError, parse
from tests.unit.benches import Bench, declare

CORPUS = Path(__file__).parents[2] / "corpus" / "attachment"
WEB = "kind: Attachment\nworkload_id: web-1\nnetns: {name: web-1}\n"
DB = WEB.replace("web-1", "db-1")

Write = Callable[[str, str], Path]


def validate(*words: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, words)], input=stdin, prog_name="netplumb")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        (path := tmp_path / name).write_text(text)
        return path

    return written


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.*")), ids=lambda path: str(path.relative_to(CORPUS)))
def test_a_file_is_judged_in_the_daemons_words(path: Path) -> None:
    """Line by line what its reader says, behind the path that was given; with nothing to say, exit 0."""
    try:
        parse(str(path), path.read_bytes())
    except StateFileError as error:
        expected = (1, error.lines)
    else:
        expected = (0, [])
    result = validate(path)
    assert (result.exit_code, [line for line in result.stdout.splitlines() if ": declares " not in line]) == expected
    assert result.stderr == ""


def test_the_daemons_message_is_made_of_the_same_words(tmp_path: Path, write: Write) -> None:
    """The condition of a broken file is what validate says, with the name that the daemon has for the file."""
    write("web.yaml", f"{WEB}if_name: 'eth 0'\nmacc: x\n")
    write("empty.yaml", "")
    os.mkfifo(tmp_path / "pipe.yaml")
    told = {it.name: it.problem for it in directory.contents(tmp_path, {}).values()}
    lines = validate(tmp_path).stdout.replace(f"{tmp_path}/", "").splitlines()
    assert sorted("; ".join(told.values()).split("; ")) == sorted("; ".join(lines).split("; "))
    assert len(lines) == 4


def test_what_is_taken_is_counted(write: Write) -> None:
    web, nothing = write("web.yaml", f"{WEB}---\n{DB}"), write("nothing.yaml", "# yet\n")
    result = validate(web, nothing)
    assert result.exit_code == 0
    assert result.stdout == f"{web}: declares 2 attachments\n{nothing}: declares nothing\n"


def test_stdin_is_a_file_like_any_other() -> None:
    assert validate("-", stdin=WEB).stdout == "-: declares 1 attachment\n"
    result = validate("-", stdin="kind: Attachment\n")
    assert result.exit_code == 1
    assert "-:1: workload_id: is missing\n" in result.stdout


def test_scripts_are_told_by_file_and_line(write: Write) -> None:
    good, bad = write("good.yaml", WEB), write("bad.yaml", f"{DB}mtu: 12\n")
    expected = [
        {"file": str(good), "valid": True, "attachments": ["web-1/eth0"], "manifests": [], "mistakes": []},
        {
            "file": str(bad),
            "valid": False,
            "attachments": [],
            "manifests": [],
            "mistakes": [{"line": 4, "message": "mtu: 12 is not within 1280 to 65535"}],
        },
    ]
    result = validate(good, bad, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, expected)
    assert YAML(typ="safe").load(validate(good, bad, "-o", "yaml").stdout) == expected


@pytest.mark.parametrize("together", [True, False])
def test_what_two_files_claim_is_told_as_the_daemon_tells_it(
    bench: Bench, tmp_path: Path, write: Write, together: bool
) -> None:
    """A key, an address, a port, the same workload's port for two ends: of a directory, or of files that are in one."""
    write("a.yaml", f"{WEB}addresses: [10.0.0.9]\nport_mappings: ['8080:80']\n")
    for name, text in {
        "b.yaml": WEB,
        "c.yaml": DB + "addresses: [10.0.0.9]\n",
        "d.yaml": DB.replace("db-1", "db-2") + "port_mappings: ['8080:80']\n",
        "e.yaml": WEB + "if_name: eth1\nport_mappings: ['8080:81']\n",
    }.items():
        write(name, text)
    for path in sorted(tmp_path.glob("*.yaml")):
        declare(bench.desired, f"file/{path.name}", parse(path.name, path.read_bytes()))
    blocked = [str(error) for _, _, error in bench.desired.claims.waiting()]
    assert len(blocked) == 4
    result = validate(*([tmp_path] if together else sorted(tmp_path.glob("*.yaml"))))
    assert result.exit_code == 1
    lines = [line for line in result.stdout.splitlines() if "declares" not in line]
    assert sorted(line.split(": ", 1)[1] for line in lines) == sorted(blocked)
    assert all(line.removeprefix(f"{tmp_path}/")[0] in "bcde" for line in lines)


def test_two_attachments_of_one_interface_are_told(write: Write) -> None:
    """By whatever the namespace is named; the daemon would take both, and fail the second."""
    first = write("a.yaml", "kind: Attachment\nworkload_id: web-1\nnetns: {name: web}\n")
    second = write("b.yaml", "kind: Attachment\nworkload_id: web-2\nnetns: {path: /run/netns/web}\n")
    result = validate(first, second)
    assert result.exit_code == 1
    assert f"{second}:1: interface eth0 in /run/netns/web is that of attachment web-1/eth0" in result.stdout
    write("b.yaml", second.read_text() + "if_name: eth1\n")
    assert validate(first, second).exit_code == 0


def test_files_of_two_directories_are_of_two_nodes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.yaml").write_text(WEB)
    assert validate(tmp_path / "one", tmp_path / "two" / "web.yaml").exit_code == 0


def test_a_file_that_cannot_be_read_is_exit_2(tmp_path: Path, write: Write) -> None:
    """Even beside one that is wrong: not all was judged."""
    wrong = write("wrong.yaml", "kind: Pod\n")
    result = validate(tmp_path / "absent.yaml", wrong)
    assert result.exit_code == 2
    assert f"{tmp_path}/absent.yaml: No such file or directory" in result.stdout
    assert f"{wrong}:1: workload_id: is missing" in result.stdout
    assert validate().exit_code == 2


def test_of_what_the_daemon_would_not_look_at_is_warned(tmp_path: Path, write: Write) -> None:
    """It is judged all the same: a file may get its name later."""
    draft = write("web.yaml.new", WEB)
    result = validate(draft)
    assert (result.exit_code, result.stdout) == (0, f"{draft}: declares 1 attachment\n")
    assert "the daemon reads only files with names that end in .yaml" in result.stderr
    result = validate(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "holds no files" in result.stderr


def test_the_settings_file_is_known_for_what_it_is(write: Write) -> None:
    """Instead of a mistake for each of its lines; a wish that lacks what makes it one is judged as a wish."""
    result = validate(path := write("netplumb.yaml", "pools: [10.99.0.0/24]\nmtu: 1400\n"))
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{path}:1: is settings and declares nothing; `netplumb config show --config FILE`")
    assert result.exit_code == 1
    assert "workload_id: is missing" in validate(write("web.yaml", "mtu: 1400\n")).stdout


def test_each_kind_is_counted_under_its_name() -> None:
    """A policy is no attachment."""
    head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s}\nspec: {podSelector: {}}\n---\n"
    told = validate("-", stdin=WEB + "---\n" + head % "a" + head % "b").stdout
    assert told == "-: declares 1 attachment, 2 NetworkPolicies\n"
    assert validate("-", stdin=head % "a").stdout == "-: declares 1 NetworkPolicy\n"
