"""State files as a command is given them: by path, as a directory, on stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from netplumb.api.cli.got import documents
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.statefile import SUFFIXES, is_state_file

STDIN = Path("-")
_STDIN_NAME = "stdin.yaml"
_BYTES_MAX = (1 << 20) - (1 << 12)  # with room for what a request holds beside


def state_files(paths: Sequence[Path], name: str) -> pb.StateFiles:
    """What the paths hold, by the names that the files have or, of a single one, is to have."""
    found = [it for path in paths for it in _of(path)]
    if name:
        if len(found) != 1:
            raise typer.BadParameter(f"names one file, and there are {len(found)}", param_hint="--as")
        found[0].name = name
    if sum(len(it.content) for it in found) > _BYTES_MAX:
        raise typer.BadParameter("holds more than a request may, 1 MiB; give fewer files", param_hint="-f")
    return pb.StateFiles(files=found)


def _of(path: Path) -> Iterator[pb.StateFile]:
    try:
        if path == STDIN:
            yield pb.StateFile(name=_STDIN_NAME, content=documents(sys.stdin.buffer.read(_BYTES_MAX + 1)))
        elif not path.is_dir():
            yield pb.StateFile(name=path.name, content=documents(path.read_bytes()))
        else:
            inside = sorted(it for it in path.iterdir() if is_state_file(it.name))
            if not inside:
                raise typer.BadParameter(f"{path} holds no files that end in {', '.join(SUFFIXES)}", param_hint="-f")
            for file in inside:
                yield from _of(file)
    except OSError as error:
        # One that cannot be read, as opposed to opened, is not named.
        raise typer.BadParameter(f"{error.filename or path}: {error.strerror}", param_hint="-f") from None
