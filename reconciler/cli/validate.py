"""The command `netplumb validate`: state files are judged before a daemon sees them, in its words."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.lines import say, tell
from netplumb.reconciler.cli.config import Output

if TYPE_CHECKING:
    from netplumb.reconciler.sources.directory import FileContent

STDIN = Path("-")
VALID, REFUSED, UNREADABLE = 0, 1, 2

EPILOG = "Exit codes: 0 the daemon would take all of them, 1 it would not, 2 wrong usage, or a file cannot be read."


def register(app: typer.Typer) -> None:
    """Add `validate` to the application."""
    app.command("validate", epilog=EPILOG)(validate)


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="State files, or directories of them; - is stdin.")
    ],
    output: Output = "table",
) -> None:
    """Check state files as the daemon would. The daemon does not have to run.

    A directory is checked as a whole, like the one that the setting state_files names: two files that claim the same
    are found. What depends on the node only the daemon can check: `netplumb plan -f FILE`. For settings files there is
    `netplumb config show --config FILE`.
    """
    from netplumb.reconciler.sources.validation import of_paths

    found = of_paths(files, sys.stdin.buffer)
    _show(found, output)
    _warn(files, found)
    raise typer.Exit(max(map(_verdict, found), default=VALID))


def _warn(asked: list[Path], found: "list[FileContent]") -> None:
    """Of what the daemon would not even look at."""
    from netplumb.models.statefile import SUFFIXES, is_state_file

    names = f"names that end in {', '.join(SUFFIXES)} and start with no dot"
    read = [Path(file.name) for file in found if file.digest is not None]
    for path in asked:
        if path in read and path != STDIN and not is_state_file(path.name):
            tell(f"warning: {path}: the daemon reads only files with {names}")
        elif path.is_dir() and not any(path in it.parents for it in (Path(file.name) for file in found)):
            tell(f"warning: {path}: holds no files with {names}")


def _verdict(file: "FileContent") -> int:
    return UNREADABLE if file.digest is None else REFUSED if file.mistakes else VALID


def _show(files: "list[FileContent]", output: Output) -> None:
    from netplumb.reconciler.cli.config import as_json, as_yaml

    if output != "table":
        data = [_plain(file) for file in files]
        typer.echo(as_json(data) if output == "json" else as_yaml(data), nl=False)
        return
    for file in files:
        for mistake in file.mistakes:
            say(mistake.located(file.name))
        if not file.mistakes:
            say(f"{file.name}: declares {_declared(file) or 'nothing'}")


def _declared(file: "FileContent") -> str:
    """How many of each kind, in words."""
    manifests = Counter(it.manifest.kind for it in file.declared.manifests)
    counts: dict[str, int] = {
        "attachment": len(file.declared.attachments),
        **{kind: manifests[kind] for kind in sorted(manifests)},
    }
    plural = {"NetworkPolicy": "NetworkPolicies"}
    words = (f"{it} {kind if it == 1 else plural.get(kind, f'{kind}s')}" for kind, it in counts.items() if it)
    return ", ".join(words)


def _plain(file: "FileContent") -> dict[str, object]:
    return {
        "file": file.name,
        "valid": not file.mistakes,
        "attachments": [str(spec.key) for spec in file.specs],
        "manifests": [str(it.manifest.key) for it in file.declared.manifests],
        "mistakes": [{"line": it.line, "message": it.message} for it in file.mistakes],
    }
