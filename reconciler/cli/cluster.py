"""The commands `netplumb cluster status|members|remove|accept`, which ask etcd and no daemon."""

# Annotations are read at import, by typer, so they are not postponed in this file.
from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.lines import say
from netplumb.api.cli.pages import App
from netplumb.reconciler.cli.config import Config, Output, as_json, as_yaml
from netplumb.reconciler.cli.elsewhere import asked

if TYPE_CHECKING:
    from netplumb.api.cli.layout import Columns

_FAILED = 1
_EPILOG = "Exit codes: 0 done, 1 etcd was not reached or refused it{more}, 2 wrong usage or settings."


def register(app: typer.Typer) -> None:
    """Add `cluster` to the application."""
    cluster = App(no_args_is_help=True, help="The cluster that this node's settings name, as etcd knows it.")
    told = _EPILOG.format(more="")
    cluster.command("status", epilog=told)(status)
    cluster.command("members", epilog=told)(members)
    asks = _EPILOG.format(more=", or not confirmed")
    cluster.command("remove", epilog=asks)(remove)
    cluster.command("accept", epilog=asks)(accept)
    app.add_typer(cluster, name="cluster")


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def status(config: Config = None, output: Output = "table") -> None:
    """Show the cluster's nodes: who is there, where they are reached, which prefixes they hold, and what is wrong.

    HEARD is how long ago a node said that it is there, which it does three times in `lease_s`. What a node finds wrong
    itself, `netplumb status` tells there.
    """
    from netplumb.reconciler.cluster import administration

    seen = asked(config, administration.nodes)
    if output != "table":
        data = {
            "revision": seen.header.revision,
            "cluster_id": f"{seen.header.cluster:x}",
            "nodes": [
                {
                    "name": it.node,
                    "present": it.present,
                    "heard_s": seen_node.heard_s,
                    "underlay": [str(ip) for ip in it.underlay.addresses],
                    "prefixes": [str(prefix.cidr) for prefix in it.prefixes],
                    "mode": it.mode,
                    "version": it.version,
                    "troubles": [{"reason": why.reason, "message": why.words} for why in seen_node.troubles],
                }
                for seen_node in seen.nodes
                for it in [seen_node.peer]
            ],
        }
        _print(data, output)
        return
    from netplumb.api.cli.layout import Columns

    table = Columns(("NODE", "PRESENT", "HEARD", "UNDERLAY", "PREFIXES", "MODE", "VERSION", "HEALTH"))
    for node in seen.nodes:
        it = node.peer
        table.add_row(
            it.node,
            "yes" if it.present else "no",
            f"{node.heard_s:.0f}s ago" if node.heard_s is not None else "-",
            str(it.underlay),
            ", ".join(str(prefix.cidr) for prefix in it.prefixes) or "-",
            it.mode or "-",
            it.version or "-",
            "; ".join(why.words for why in node.troubles) or "well",
        )
    _show(table)
    say(f"etcd is at revision {seen.header.revision}.")


def members(config: Config = None, output: Output = "table") -> None:
    """Show etcd's own members, each as it tells of itself."""
    from netplumb.reconciler.cluster import administration

    found = asked(config, administration.members)
    if output != "table":
        _print(
            [
                {
                    "name": it.name,
                    "endpoints": list(it.endpoints),
                    "leader": it.leader,
                    "version": it.version,
                    "size_bytes": it.size_bytes,
                    "revision": it.revision,
                    "trouble": it.trouble,
                }
                for it in found
            ],
            output,
        )
        return
    from netplumb.api.cli.layout import Columns

    table = Columns(("MEMBER", "ENDPOINT", "LEADER", "VERSION", "SIZE", "REVISION", "TROUBLE"))
    for it in found:
        leader, size = "yes" if it.leader else "no", f"{it.size_bytes / (1 << 20):.1f} MiB" if it.version else "-"
        endpoint = ", ".join(it.endpoints) or "-"
        table.add_row(it.name, endpoint, leader, it.version or "-", size, str(it.revision or "-"), it.trouble or "-")
    _show(table)


def remove(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's name in the cluster.")],
    force: Annotated[bool, typer.Option("--force", help="Also one that is there.")] = False,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Take a node's prefixes from it, for other nodes to have, and forget it.

    For a node that does not come back. One that does finds its prefixes gone and says so; what runs there keeps its
    addresses, which others may be given by then. Documents that say what is wanted of it stay.
    """
    from netplumb.reconciler.cluster import administration

    found = asked(config, lambda settings: administration.removal(settings, node, force=force))
    prefixes = ", ".join(found.prefixes)
    if not yes:
        if found.present:
            say(_lives(node, found.workloads))
        if not typer.confirm(f"Give {prefixes or 'what it holds, which is nothing,'} of {node} to others?"):
            raise typer.Exit(_FAILED)
    asked(config, lambda settings: administration.remove(settings, node, force=force))
    say(f"{node} is removed; {prefixes or 'it held no prefix, so nothing'} is free again.")
    if found.documents:
        say(
            f"What documents want of it stays ({found.documents}), so that nothing ends that runs there: "
            f"`netplumb delete WORKLOAD --node {node}` withdraws one."
        )


def _lives(node: str, workloads: int) -> str:
    """What is to be known before a node is removed that is there."""
    keeps = f"{node} is there, and keeps what it runs" + (f" ({workloads} interfaces)" if workloads else "")
    return (
        f"{keeps}: the others have no way to that any more, and whoever is given the prefix gives the same addresses "
        "once more. To stop netplumb and the workloads there comes first, where that can be done."
    )


def accept(yes: Yes = False, config: Config = None) -> None:
    """Accept etcd's content as it is, though it lacks what nodes knew: after a restore from an older backup.

    Run it once for all nodes. Each node then announces its prefixes again; what is missing ten seconds later is gone.
    """
    if not yes and not typer.confirm("Is etcd's content, as it is now, what all nodes are to go by?"):
        raise typer.Exit(_FAILED)
    from netplumb.reconciler.cluster import administration

    header = asked(config, administration.accept)
    say(
        f"etcd is accepted as it is, at revision {header.revision}; nodes that waited for that take it within a minute."
    )


def _print(data: object, output: str) -> None:
    typer.echo(as_json(data) if output == "json" else as_yaml(data), nl=False)


def _show(table: "Columns") -> None:
    from netplumb.api.cli.layout import printer

    printer()(table)
