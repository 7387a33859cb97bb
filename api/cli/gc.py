"""The command `netplumb gc`: the caller names all that is alive; what else a source holds is detached.

A list that was forgotten, or that a failed command left empty, must not pass for "nothing is alive": the empty list has
an option of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.lines import say
from netplumb.api.cli.options import Daemon, Format, Output, asking
from netplumb.api.cli.questions import confirmed, is_at_terminal
from netplumb.api.defaults import DEFAULT_IF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb

_LIVES = "a container id, for all its interfaces, or ID/IF_NAME for one of them"

Source: TypeAlias = Annotated[
    str, typer.Option("--source", help="Whose attachments are meant: rpc or cni/NETWORK. Another's are never touched.")
]
Alive: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--alive", metavar="ID", help=f"What is alive: {_LIVES}. Repeatable."),
]
AliveFile: TypeAlias = Annotated[
    typer.FileText | None,
    typer.Option("--alive-file", metavar="FILE", help=f"What is alive, one a line: {_LIVES}. - is stdin."),
]
Interface: TypeAlias = tuple[str, str]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")]
Nothing: TypeAlias = Annotated[bool, typer.Option("--none", help="Nothing is alive: detach all that the source holds.")]


@asking
def gc(
    daemon: Daemon,
    source: Source,
    alive: Alive = None,
    alive_file: AliveFile = None,
    none: Nothing = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Detach what a source holds for containers that no longer exist, and show what that was. In a terminal, show what
    would go and ask first.

    Name all live containers by --alive, --alive-file or both; if there are none, say so by --none. For an attachment
    without a container id, its workload's id stands for it.
    """
    living = _living(alive or [], alive_file, none=none)

    from netplumb.api.cli.call import call

    if dry_run:
        going, _ = call(daemon, lambda client: _going(client, source, living))
        _show(going, output, "would detach")
        return
    if yes or not is_at_terminal():
        _show(call(daemon, lambda client: _collect(client, source, living)), output, "detached")
        return
    going, staying = call(daemon, lambda client: _going(client, source, living))
    if going:
        for it in going:
            say(_line(it, "to detach"), err=True)
        if not confirmed(f"Detach these {len(going)}?"):
            raise typer.Abort
        going = call(daemon, lambda client: _collect_only(client, source, staying, going))
    _show(going, output, "detached")


async def _collect(client: AsyncClient, source: str, living: Sequence[Interface]) -> Sequence[pb.Attachment]:
    return await client.gc(await _alive(client, source, living), source)


async def _going(
    client: AsyncClient, source: str, living: Sequence[Interface]
) -> tuple[Sequence[pb.Attachment], set[Interface]]:
    """What would go, and who is alive."""
    alive = await _alive(client, source, living)
    return await client.gc(alive, source, dry_run=True), alive


async def _collect_only(
    client: AsyncClient, source: str, alive: set[Interface], shown: Sequence[pb.Attachment]
) -> Sequence[pb.Attachment]:
    """Whoever came while the question stood was not shown, and stays."""
    going = {_interface_of(it) for it in shown}
    came = {_interface_of(it) async for it in client.list() if it.source == source} - going
    return await client.gc(sorted(alive | came), source)


async def _alive(client: AsyncClient, source: str, living: Sequence[Interface]) -> set[Interface]:
    """The daemon is told of interfaces, so a container that lives as a whole is told by those that it has. Of an id
    that a runtime made, the beginning keeps whoever has it alive."""
    from netplumb.api.cli.keys import begins_made

    alive = {(container_id, if_name or DEFAULT_IF_NAME) for container_id, if_name in living}
    held = [_interface_of(it) async for it in client.list() if it.source == source]
    known = {container_id for container_id, _ in held}
    said = {it for it in living if it[0] in known}
    begun = [it for it in living if it[0] not in known]
    for container_id, name in held:
        lives = {(container_id, ""), (container_id, name)} & said
        if lives or any(begins_made(part, container_id) and only in ("", name) for part, only in begun):
            alive.add((container_id, name))
    return alive


def _interface_of(it: pb.Attachment) -> Interface:
    return it.container_id or it.workload_id, it.if_name


def _living(alive: Sequence[str], alive_file: Iterable[str] | None, *, none: bool) -> list[Interface]:
    if none:
        if alive or alive_file is not None:
            raise typer.BadParameter("says that nothing is alive; leave out the list", param_hint="--none")
        return []
    if not alive and alive_file is None:
        raise typer.BadParameter("is missing; say --none if nothing is alive", param_hint="--alive or --alive-file")
    try:
        listed = [line.strip() for line in alive_file or ()]
    except UnicodeDecodeError:
        raise typer.BadParameter("is not UTF-8", param_hint="--alive-file") from None
    if alive_file is not None and not any(listed):
        raise typer.BadParameter("holds no line; say --none if nothing is alive", param_hint="--alive-file")
    return [_interface(text) for text in (*alive, *filter(None, listed))]


def _interface(text: str) -> Interface:
    """A container's id and an interface's name, which holds no slash, so that the last one ends the id; an empty name
    for all interfaces."""
    container_id, slash, if_name = text.rpartition("/")
    if not slash:
        container_id = text
    if not text or (slash and not (container_id and if_name)):
        raise typer.BadParameter(f"{text!r} is not an id or ID/IF_NAME", param_hint="--alive")
    return container_id, if_name if slash else ""


def _show(removed: Sequence[pb.Attachment], output: Format, what: str) -> None:
    from netplumb.api.cli.plain import plain, serialised

    if output is not Format.TABLE:
        typer.echo(serialised([plain(it) for it in removed], output), nl=False)
        return
    for it in removed:
        say(_line(it, what))
    if not removed:
        say("nothing to detach")


def _line(it: pb.Attachment, what: str) -> str:
    container = f" of container {it.container_id}" if it.container_id else ""
    return f"{what} {it.workload_id}/{it.if_name}{container}: {' '.join(it.addresses)}"
