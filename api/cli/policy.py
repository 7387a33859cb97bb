"""The commands `netplumb policy list|show|explain|diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.exits import Exit, told
from netplumb.api.cli.options import Daemon, Documents, Format, Output, asking
from netplumb.api.cli.pages import App

if TYPE_CHECKING:
    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.v1 import netplumb_pb2 as pb

_FAILED = {"explain": "failed, or it is denied", "diff": "failed, or something would change"}
_END = "A workload, an interface of it as workload/interface, or an address; of another node as node/workload, too."


@asking
def list_(daemon: Daemon, output: Output = Format.TABLE) -> None:
    """List network policies and namespaces: whose they are, whether they count, and how many workloads they isolate."""
    from netplumb.api.cli import policies
    from netplumb.api.cli.call import call

    policies.show_list(call(daemon, lambda client: client.policies()), output)


@asking
def show(
    daemon: Daemon,
    name: Annotated[
        str, typer.Argument(metavar="[NAMESPACE/]NAME", help="A network policy; of the namespace default without one.")
    ],
    output: Output = Format.TABLE,
) -> None:
    """Show one policy: its manifest, whose it is, and the workloads that it isolates."""
    from netplumb.api.cli import policies
    from netplumb.api.cli.call import call
    from netplumb.api.cli.lines import tell

    namespace, _, plain = name.rpartition("/")
    wanted = ("NetworkPolicy", namespace or "default", plain)

    async def ask(client: AsyncClient) -> list[pb.Policy]:
        return [it for it in await client.policies() if (it.kind, it.namespace, it.name) == wanted]

    if not (found := call(daemon, ask)):
        tell(f"no source declares the policy {wanted[1]}/{plain}; `netplumb policy list` has those that there are")
        raise typer.Exit(Exit.NOT_FOUND)
    policies.show_each(found, output)


@asking
def explain(
    daemon: Daemon,
    source: Annotated[str, typer.Argument(metavar="FROM", help=_END)],
    destination: Annotated[str, typer.Argument(metavar="TO", help=_END)],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of who is asked; of a published one, the workload's.")
    ] = 0,
    protocol: Annotated[str, typer.Option("--protocol", help="tcp, udp, sctp or icmp.")] = "tcp",
    output: Output = Format.TABLE,
) -> None:
    """Tell whether policies let one end reach another, by which rule, or what is missing. Exits 1 if they do not."""
    from netplumb.api.cli import policies
    from netplumb.api.cli.call import call
    from netplumb.api.v1 import netplumb_pb2 as pb

    request = pb.ExplainPolicyRequest(source=source, destination=destination, port=port, protocol=protocol)
    answer = call(daemon, lambda client: client.explain_policy(request))
    policies.show_explanation(answer, request, output)
    if not answer.allowed:
        raise typer.Exit(Exit.FAILED)


@asking
def diff(daemon: Daemon, file: Documents, output: Output = Format.TABLE) -> None:
    """Show what policies in files would change: which workloads would reach which ports of others, or no longer would,
    and which connections would be cut. Each file is new, or replaces the state file of that name. Nothing is changed.
    Exits 1 if there is a difference.
    """
    from netplumb.api.cli import policies
    from netplumb.api.cli.call import call
    from netplumb.api.cli.files import state_files

    files = state_files(file, "")
    answer = call(daemon, lambda client: client.diff_policies(files))
    if policies.show_difference(answer, output):
        raise typer.Exit(Exit.FAILED)


def policy_app() -> typer.Typer:
    app = App(help="Network policies: what there is, who reaches whom, and what others would change.", epilog=told())
    for command in (list_, show, explain, diff):
        name = command.__name__.rstrip("_")
        app.command(name, epilog=told(_FAILED.get(name, "failed")))(command)
    return app
