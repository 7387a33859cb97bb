"""The commands `netplumb apply|delete|diff`: documents as state files hold them, made desired and withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from netplumb.api.cli.elsewhere import ClusterConfig, Node, NodesDocuments, elsewhere, refuse_config
from netplumb.api.cli.exits import Exit
from netplumb.api.cli.options import Daemon, Documents, Files, Format, Labels, Output, Prune, Workloads, asking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb

DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
IgnoreNotFound: TypeAlias = Annotated[
    bool, typer.Option("--ignore-not-found", help="What was not applied is as good as deleted.")
]


@asking
def apply(
    daemon: Daemon,
    file: Documents,
    prune: Prune = False,
    dry_run: DryRun = False,
    node: Node = "",
    config: ClusterConfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Make documents desired, and show what became of each. What was applied before stays, without --prune.

    The daemon keeps them for as long as the boot; what must outlive it belongs into state files. What cannot be had
    now, such as a port that another holds, is waited for, told, and exits 1.

    With --node they are written to etcd, for that node of the cluster, or of policies for all, until they are deleted.
    """
    from netplumb.api.cli import applied
    from netplumb.api.cli.call import call

    request = _request(file, prune=prune, dry_run=dry_run)
    if node:
        answer = elsewhere().apply(config, node, request)
    else:
        refuse_config(config, "--node")
        answer = call(daemon, lambda client: client.apply(request))
    applied.show(answer, output, dry_run=dry_run)
    if any(it.waiting for it in answer):
        raise typer.Exit(Exit.FAILED)


@asking
def delete(
    daemon: Daemon,
    workloads: Workloads = None,
    file: Files = None,
    labels: Labels = "",
    ignore_not_found: IgnoreNotFound = False,
    dry_run: DryRun = False,
    node: Node = "",
    document: NodesDocuments = None,
    config: ClusterConfig = None,
) -> None:
    """Withdraw what was applied, and return when it is gone from the kernel. Others' attachments are left alone.

    With --node what was applied with it, which is gone when that node has read it.
    """
    if sum((bool(workloads), bool(file), bool(labels), bool(document))) != 1:
        raise typer.BadParameter("say either workloads, or -f, or -l, or --document", param_hint="WORKLOAD[/IF]")

    from netplumb.api.cli import applied, keys
    from netplumb.api.cli.call import call
    from netplumb.api.cli.files import state_files
    from netplumb.api.v1 import netplumb_pb2 as pb
    from netplumb.models.attachment import APPLIED_SOURCE

    if document:
        if not node:
            raise typer.BadParameter("is one in etcd: say --node, too", param_hint="--document")
        deleted, missing = elsewhere().delete_documents(config, node, document, dry_run=dry_run)
        applied.show_deleted_documents(deleted, missing, dry_run=dry_run, ignore_not_found=ignore_not_found)
        if missing and not ignore_not_found:
            raise typer.Exit(Exit.NOT_FOUND)
        return

    request = pb.DeleteRequest(files=state_files(file, "") if file else None, dry_run=dry_run)

    if node:
        if labels:
            raise typer.BadParameter("chooses among what a daemon has, not with --node", param_hint="-l")
        for word in workloads or ():
            key = keys.readings(word, "")[0]
            request.names.append(pb.AttachmentName(workload_id=key.workload_id, if_name=key.if_name))
        _tell_deleted(elsewhere().delete(config, node, request), dry_run, ignore_not_found)
        return
    refuse_config(config, "--node")

    async def ask(client: AsyncClient) -> pb.DeleteResponse:
        named = [keys.readings(word, "")[0] for word in workloads or ()]
        if labels:
            named = [
                keys.Key(it.workload_id, it.if_name)
                async for it in client.list(selector=labels)
                if it.source == APPLIED_SOURCE
            ]
            if not named:
                return pb.DeleteResponse()
        request.names.extend(pb.AttachmentName(workload_id=it.workload_id, if_name=it.if_name) for it in named)
        return await client.delete(request)

    _tell_deleted(call(daemon, ask), dry_run, ignore_not_found)


def _tell_deleted(answer: pb.DeleteResponse, dry_run: bool, ignore_not_found: bool) -> None:
    from netplumb.api.cli import applied

    applied.show_deleted(answer, dry_run=dry_run, ignore_not_found=ignore_not_found)
    if (answer.missing or answer.missing_manifests) and not ignore_not_found:
        raise typer.Exit(Exit.NOT_FOUND)


@asking
def diff(daemon: Daemon, file: Documents, prune: Prune = False, output: Output = Format.TABLE) -> None:
    """Show what an apply would change, in desired state and in the kernel. Exits 1 if there is a difference.

    Nothing is changed. Takes what `netplumb apply` takes.
    """
    from netplumb.api.cli import applied
    from netplumb.api.cli.call import call

    request = _request(file, prune=prune, dry_run=True)

    async def ask(client: AsyncClient) -> tuple[Sequence[pb.Applied], pb.PlanResponse]:
        return await client.apply(request), await client.plan(request)

    wished, planned = call(daemon, ask)
    if applied.show_difference(wished, planned, output):
        raise typer.Exit(Exit.FAILED)


def _request(paths: Sequence[Path], *, prune: bool, dry_run: bool) -> pb.ApplyRequest:
    from netplumb.api.cli.files import state_files
    from netplumb.api.v1 import netplumb_pb2 as pb

    return pb.ApplyRequest(files=state_files(paths, ""), prune=prune, dry_run=dry_run)
