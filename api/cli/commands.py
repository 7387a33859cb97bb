"""The client commands `netplumb attach|detach|check|plan|status`, which the others join here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from netplumb.api.cli import exits, options
from netplumb.api.cli.applying import apply, delete, diff
from netplumb.api.cli.describe import describe
from netplumb.api.cli.events import events
from netplumb.api.cli.gc import gc
from netplumb.api.cli.listing import get, list_, watch
from netplumb.api.cli.map import map_
from netplumb.api.cli.options import (
    ContainerId,
    Daemon,
    DetachNetns,
    Files,
    Format,
    IfName,
    NameOfFile,
    OptionalWorkload,
    Output,
    Workload,
    asking,
)
from netplumb.api.cli.pages import App
from netplumb.api.cli.policy import policy_app
from netplumb.api.cli.top import top
from netplumb.api.cli.wait import wait
from netplumb.api.cli.wish import wishing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from netplumb.api.cli.keys import Key
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb


FAILED = {
    "check": "failed, or something is not as wished",
    "diff": "failed, or something would change",
    "gc": "failed, or not confirmed",
}
"""What exit code 1 means where it means more than that."""


def register(app: typer.Typer) -> None:
    """Add the client commands to the application."""
    for command in (
        *(attach, detach, apply, delete, diff, get, list_, watch, wait),
        *(check, status, gc, describe, events, top, map_),
    ):
        name = command.__name__.rstrip("_")
        app.command(name, epilog=exits.told(FAILED.get(name, "failed")))(command)
    plan_app = App(invoke_without_command=True, epilog=exits.told("failed, or with -f something would be refused"))
    plan_app.callback()(plan)
    plan_app.command("attach", epilog=exits.told())(plan_attach)
    plan_app.command("detach", epilog=exits.told())(plan_detach)
    app.add_typer(plan_app, name="plan")
    app.add_typer(policy_app(), name="policy")


@wishing
def attach(request: pb.AttachRequest, daemon: Daemon, output: Format) -> None:
    """Give an interface in a network namespace its network. The same again changes nothing."""
    from netplumb.api.cli import answers, keys
    from netplumb.api.cli.call import call

    async def ask(client: AsyncClient) -> pb.AttachResponse:
        return await client.attach(await keys.to_attach(client, request))

    answers.attached(call(daemon, ask), output)


@asking
def detach(
    daemon: Daemon,
    workload: Workload,
    netns: DetachNetns = "",
    if_name: IfName = "",
    container_id: ContainerId = "",
) -> None:
    """Take an interface away. Detaching what does not exist succeeds.

    The beginning of an id that a runtime made is enough; a name has to be given in full.
    """
    from netplumb.api.cli import keys
    from netplumb.api.cli.call import call
    from netplumb.api.cli.lines import tell

    async def ask(client: AsyncClient) -> None:
        try:
            key = await keys.to_detach(client, workload, if_name)
        except keys.Missing as missing:
            if missing.beside:
                tell(f"nothing was detached: {missing}")
            return
        await client.detach(_detach_request(key, netns, container_id))

    call(daemon, ask)


@asking
def check(
    daemon: Daemon,
    workload: OptionalWorkload = None,
    if_name: IfName = "",
    output: Output = Format.TABLE,
) -> None:
    """Compare one attachment, or the node and all of them, with the kernel. Exits 1 if anything is not as wished, and
    shows what and why."""
    from netplumb.api.cli import answers, keys
    from netplumb.api.cli.call import call
    from netplumb.api.cli.exits import Exit

    async def ask_of(client: AsyncClient, word: str) -> pb.CheckResponse:
        return await client.check(*await keys.found(client, word, if_name))

    if workload is None:
        reports = list(call(daemon, lambda client: client.check_all()))
        answers.all_checked(reports, output)
    else:
        reports = [call(daemon, lambda client: ask_of(client, workload))]
        answers.checked(reports[0], output)
    if not all(report.in_sync for report in reports):
        raise typer.Exit(Exit.FAILED)


@asking
def plan(
    daemon: Daemon,
    context: typer.Context,
    file: Files = None,
    as_: NameOfFile = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what the daemon would change in the kernel, and what that would not mend: now, for an attach or a detach, or
    with -f if state files were put into place. Nothing is changed.

    With -f it exits 1 where the daemon would refuse a part, such as a port that another holds.
    """
    if context.invoked_subcommand is not None:
        if file:
            raise typer.BadParameter(f"means files, and {context.invoked_subcommand} a wish", param_hint="-f")
    elif file:
        from netplumb.api.cli.exits import Exit
        from netplumb.api.cli.files import state_files
        from netplumb.models.errors import Refusal

        found = state_files(file, as_)
        answer = _show_plan(lambda client: client.plan(found), daemon, output)
        refusals = {refusal.__name__ for refusal in Refusal.__subclasses__()}
        if any(it.reason in refusals for it in answer.unmet):
            raise typer.Exit(Exit.FAILED)
    elif as_:
        raise typer.BadParameter("names the file of -f, which is missing", param_hint="--as")
    else:
        _show_plan(lambda client: client.plan(), daemon, output)


@wishing
def plan_attach(request: pb.AttachRequest, daemon: Daemon, output: Format) -> None:
    """Show what an attach would change. Takes what `netplumb attach` takes."""
    from netplumb.api.cli import keys

    async def ask(client: AsyncClient) -> pb.PlanResponse:
        return await client.plan(await keys.to_attach(client, request))

    _show_plan(ask, daemon, output)


@asking
def plan_detach(
    daemon: Daemon,
    workload: Workload,
    netns: DetachNetns = "",
    if_name: IfName = "",
    container_id: ContainerId = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what a detach would change. Takes what `netplumb detach` takes."""
    from netplumb.api.cli import keys

    async def ask(client: AsyncClient) -> pb.PlanResponse:
        return await client.plan(_detach_request(await keys.to_detach(client, workload, if_name), netns, container_id))

    _show_plan(ask, daemon, output)


@asking
def status(
    daemon: Daemon,
    output: Output = Format.TABLE,
) -> None:
    """Show the daemon's state: readiness, what is not as wished, pools, counters."""
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answers.status(call(daemon, lambda client: client.status(without_pools=True)), output)


def _show_plan(
    ask: Callable[[AsyncClient], Awaitable[pb.PlanResponse]], daemon: Daemon, output: Format
) -> pb.PlanResponse:
    from netplumb.api.cli import answers
    from netplumb.api.cli.call import call

    answer = call(daemon, ask)
    answers.planned(answer, output)
    return answer


def _detach_request(key: Key, netns: str, container_id: str) -> pb.DetachRequest:
    from netplumb.api.v1 import netplumb_pb2 as pb

    return pb.DetachRequest(
        workload_id=key.workload_id,
        netns=pb.NetNSAttachment(netns_path=options.netns_path(netns), if_name=key.if_name),
        container_id=container_id,
    )
