"""The command `netplumb gc`: what lives is told by the caller, in full; what a source holds beside that is detached.

A list that was forgotten, or that a failed command left empty, must not pass for "nothing lives": the empty list has to
be said in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.lines import say
from netplumb.api.cli.options import Daemon, Format, Output, asking
from netplumb.api.defaults import DEFAULT_IF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb

_LIVES = "a container id, with all its interfaces, or with /IF_NAME behind it one of them"

Source: TypeAlias = Annotated[
    str, typer.Option("--source", help="Whose attachments are meant: rpc or cni/NETWORK. Another's are never touched.")
]
Alive: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--alive", metavar="ID", help=f"One that lives: {_LIVES}. Repeatable."),
]
AliveFile: TypeAlias = Annotated[
    typer.FileText | None,
    typer.Option("--alive-file", metavar="FILE", help=f"Those that live, one a line: {_LIVES}. - is stdin."),
]
Nothing: TypeAlias = Annotated[bool, typer.Option("--none", help="Nothing lives: detach all that the source holds.")]


@asking
def gc(
    daemon: Daemon,
    source: Source,
    alive: Alive = None,
    alive_file: AliveFile = None,
    none: Nothing = False,
    output: Output = Format.TABLE,
) -> None:
    """Detach what a source holds for containers that live no more, and show what that was.

    Who lives must be said in full, by --alive, --alive-file or both; that nobody does, by --none. An attachment without
    a container id goes by its workload's id.
    """
    living = _living(alive or [], alive_file, none=none)

    from netplumb.api.cli.call import call

    _show(call(daemon, lambda client: _collect(client, source, living)), output)


async def _collect(client: AsyncClient, source: str, living: Sequence[tuple[str, str]]) -> Sequence[pb.Attachment]:
    """The daemon is told of interfaces, so a container that lives as a whole is told by those that it has."""
    whole = {container_id for container_id, if_name in living if not if_name}
    alive = {(container_id, if_name or DEFAULT_IF_NAME) for container_id, if_name in living}
    if whole:
        async for it in client.list():
            if it.source == source and (container_id := it.container_id or it.workload_id) in whole:
                alive.add((container_id, it.if_name))
    return await client.gc(sorted(alive), source)


def _living(alive: Sequence[str], alive_file: Iterable[str] | None, *, none: bool) -> list[tuple[str, str]]:
    if none:
        if alive or alive_file is not None:
            raise typer.BadParameter("says that nothing lives, beside a list of what does", param_hint="--none")
        return []
    if not alive and alive_file is None:
        raise typer.BadParameter("is missing; say --none if nothing lives", param_hint="--alive or --alive-file")
    listed = [line.strip() for line in alive_file or ()]
    if alive_file is not None and not any(listed):
        raise typer.BadParameter("holds no line; say --none if nothing lives", param_hint="--alive-file")
    return [_interface(text) for text in (*alive, *filter(None, listed))]


def _interface(text: str) -> tuple[str, str]:
    """A container's id and an interface's name, which holds no slash, so that the last one ends the id; an empty name
    for all interfaces."""
    container_id, slash, if_name = text.rpartition("/")
    if not slash:
        container_id = text
    if not text or (slash and not (container_id and if_name)):
        raise typer.BadParameter(f"{text!r} is not an id or ID/IF_NAME", param_hint="--alive")
    return container_id, if_name if slash else ""


def _show(removed: Sequence[pb.Attachment], output: Format) -> None:
    from netplumb.api.cli.plain import plain, serialised

    if output is not Format.TABLE:
        typer.echo(serialised([plain(it) for it in removed], output), nl=False)
        return
    for it in removed:
        container = f" of container {it.container_id}" if it.container_id else ""
        say(f"detached {it.workload_id}/{it.if_name}{container}: {' '.join(it.addresses)}")
    if not removed:
        say("nothing to detach")
