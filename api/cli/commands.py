"""The client commands `netplumb attach|detach|get|list|watch|check|plan|status`, which the others join here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from netplumb.api.cli import options
from netplumb.api.cli.describe import describe
from netplumb.api.cli.events import events
from netplumb.api.cli.exits import EPILOG
from netplumb.api.cli.gc import gc
from netplumb.api.cli.options import (
    ContainerId,
    Daemon,
    DetachNetns,
    Format,
    IfName,
    OptionalWorkload,
    Output,
    Workload,
    asking,
)
from netplumb.api.cli.pages import App
from netplumb.api.cli.wish import wishing
from netplumb.api.defaults import DEFAULT_IF_NAME

if TYPE_CHECKING:
    from netplumb.api.v1 import netplumb_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the client commands to the application."""
    for command in (attach, detach, get, list_, watch, check, status, gc, describe, events):
        app.command(command.__name__.rstrip("_"), epilog=EPILOG)(command)
    plan_app = App(invoke_without_command=True, epilog=EPILOG)
    plan_app.callback()(plan)
    plan_app.command("attach", epilog=EPILOG)(plan_attach)
    plan_app.command("detach", epilog=EPILOG)(plan_detach)
    app.add_typer(plan_app, name="plan")


@wishing
def attach(request: pb.AttachRequest, daemon: Daemon, output: Format) -> None:
    """Give an interface in a network namespace its network. The same again changes nothing."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answers.attached(call(daemon, lambda client: client.attach(request)), output)


@asking
def detach(
    daemon: Daemon,
    workload: Workload,
    netns: DetachNetns = "",
    if_name: IfName = DEFAULT_IF_NAME,
    container_id: ContainerId = "",
) -> None:
    """Take an interface away. What is not there is as good as detached."""
    from netplumb.api.cli.call import call

    request = _detach_request(workload, netns, if_name, container_id)
    call(daemon, lambda client: client.detach(request))


@asking
def get(
    daemon: Daemon,
    workload: Workload,
    if_name: IfName = DEFAULT_IF_NAME,
    output: Output = Format.TABLE,
) -> None:
    """Show one attachment and its status."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answers.attachment(call(daemon, lambda client: client.get_with_waiting(workload, if_name)), output)


@asking
def list_(
    daemon: Daemon,
    output: Output = Format.TABLE,
) -> None:
    """Show all attachments."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call
    from netplumb.api.client.asynchronous import AsyncClient

    async def ask(client: AsyncClient) -> list[pb.Attachment]:
        return [attachment async for attachment in client.list()]

    answers.attachments(call(daemon, ask), output)


@asking
def watch(
    daemon: Daemon,
    output: Output = Format.TABLE,
) -> None:
    """Show all attachments, then each change as it happens, until Ctrl-C."""
    from contextlib import suppress

    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call
    from netplumb.api.client.asynchronous import AsyncClient

    async def follow(client: AsyncClient) -> None:
        show = answers.events(output)
        async for event in client.watch():
            show(event)

    with suppress(KeyboardInterrupt):
        call(daemon, follow)


@asking
def check(
    daemon: Daemon,
    workload: OptionalWorkload = None,
    if_name: IfName = DEFAULT_IF_NAME,
    output: Output = Format.TABLE,
) -> None:
    """Compare one attachment, or the node and all of them, with the kernel. Exits 1 if anything is not as wished, and
    shows what and why."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call
    from netplumb.api.cli.exits import Exit

    if workload is None:
        reports = list(call(daemon, lambda client: client.check_all()))
        answers.all_checked(reports, output)
    else:
        reports = [call(daemon, lambda client: client.check(workload, if_name))]
        answers.checked(reports[0], output)
    if not all(report.in_sync for report in reports):
        raise typer.Exit(Exit.FAILED)


@asking
def plan(
    daemon: Daemon,
    context: typer.Context,
    output: Output = Format.TABLE,
) -> None:
    """Show what the daemon would change in the kernel, and what that would not mend: now, or for an attach or a detach.
    Nothing is changed."""
    if context.invoked_subcommand is None:
        _show_plan(None, daemon, output)


@wishing
def plan_attach(request: pb.AttachRequest, daemon: Daemon, output: Format) -> None:
    """Show what an attach would change. Takes what `netplumb attach` takes."""
    _show_plan(request, daemon, output)


@asking
def plan_detach(
    daemon: Daemon,
    workload: Workload,
    netns: DetachNetns = "",
    if_name: IfName = DEFAULT_IF_NAME,
    container_id: ContainerId = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what a detach would change. Takes what `netplumb detach` takes."""
    _show_plan(_detach_request(workload, netns, if_name, container_id), daemon, output)


@asking
def status(
    daemon: Daemon,
    output: Output = Format.TABLE,
) -> None:
    """Show the daemon's state: readiness, what is not as wished, pools, counters."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answers.status(call(daemon, lambda client: client.status(without_pools=True)), output)


def _show_plan(what_if: pb.AttachRequest | pb.DetachRequest | None, daemon: Daemon, output: Format) -> None:
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answers.planned(call(daemon, lambda client: client.plan(what_if)), output)


def _detach_request(workload: str, netns: str, if_name: str, container_id: str) -> pb.DetachRequest:
    from netplumb.api.v1 import netplumb_pb2 as pb

    return pb.DetachRequest(
        workload_id=workload,
        netns=pb.NetNSAttachment(netns_path=options.netns_path(netns), if_name=if_name),
        container_id=container_id,
    )
