"""What the commands `netplumb apply|delete --node` and `netplumb list --all-nodes` do, by etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from netplumb.api.cli.lines import tell
from netplumb.reconciler.cli.config import load_or_exit

if TYPE_CHECKING:
    from netplumb.api.v1 import netplumb_pb2 as pb
    from netplumb.models.clustersettings import ClusterSettings
    from netplumb.models.statefile import StateFile

_FAILED, _USAGE = 1, 2
_Answer = TypeVar("_Answer")


class ByEtcd:
    """Implements `netplumb.api.cli.elsewhere`."""

    def apply(self, config: Path | None, node: str, request: pb.ApplyRequest) -> Sequence[pb.Applied]:
        from netplumb.api import answers
        from netplumb.reconciler.cluster.remotely import Documents

        if request.prune:
            raise typer.BadParameter("is for what was applied to a daemon", param_hint="--prune")

        async def ask(settings: ClusterSettings) -> Sequence[pb.Applied]:
            documents = Documents(settings, _checked(node))
            applied = await documents.apply(_files(request), dry_run=request.dry_run)
            if not documents.node_is_known:
                tell(f"no node {node} was ever in this cluster; what is wanted of it waits until one is")
            return answers.apply_response(applied).applied

        return asked(config, ask)

    def delete(self, config: Path | None, node: str, request: pb.DeleteRequest) -> pb.DeleteResponse:
        from netplumb.api import answers
        from netplumb.models.attachment import AttachmentKey
        from netplumb.reconciler.cluster.remotely import Documents

        keys = [AttachmentKey(it.workload_id, it.if_name) for it in request.names]

        async def ask(settings: ClusterSettings) -> pb.DeleteResponse:
            documents = Documents(settings, _checked(node))
            deleted = await documents.delete(_files(request), keys, dry_run=request.dry_run)
            if deleted.missing and documents.unread:
                tell(
                    f"documents that cannot be read, and may say what was meant: {', '.join(documents.unread)}; "
                    "--document NAME deletes one"
                )
            return answers.delete_response(deleted)

        return asked(config, ask)

    def delete_documents(
        self, config: Path | None, node: str, names: Sequence[str], *, dry_run: bool
    ) -> tuple[Sequence[str], Sequence[str]]:
        from netplumb.reconciler.cluster.remotely import Documents

        async def ask(settings: ClusterSettings) -> tuple[Sequence[str], Sequence[str]]:
            done = await Documents(settings, _checked(node)).delete_documents(names, dry_run=dry_run)
            return done.deleted, done.missing

        return asked(config, ask)

    def attachments(self, config: Path | None) -> list[dict[str, Any]]:
        from netplumb.reconciler.cluster.remotely import attachments_of_all

        async def ask(settings: ClusterSettings) -> list[dict[str, Any]]:
            return [it async for it in attachments_of_all(settings)]

        return asked(config, ask)


def _checked(node: str) -> str:
    from netplumb.models.clustersettings import checked_node_name

    try:
        return checked_node_name(node)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--node") from None


def _files(request: pb.ApplyRequest | pb.DeleteRequest) -> list[StateFile]:
    from netplumb.models.statefile import StateFile

    return [StateFile(it.name, it.content) for it in request.files.files]


def asked(config: Path | None, question: Callable[[ClusterSettings], Awaitable[_Answer]]) -> _Answer:
    """What etcd answers, by the settings of this node; else a line on stderr, and exit 1 or 2."""
    settings = load_or_exit({}, config).settings.cluster
    if settings is None:
        tell("cluster: is not in the settings; this node is none of a cluster")
        raise typer.Exit(_USAGE)

    from netplumb.models.errors import InvalidRequest, NetplumbError

    async def ask() -> _Answer:
        return await question(settings)

    try:
        return asyncio.run(ask())
    except NetplumbError as error:
        tell(str(error))
        raise typer.Exit(_USAGE if isinstance(error, InvalidRequest) else _FAILED) from None
