"""Commands that are about other nodes of a cluster. They are asked of no daemon but of etcd, of which nothing is known
here: who does it is said where the command is put together.
"""

# Annotations are read at import, by typer, so they are not postponed in this file.
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import typer

if TYPE_CHECKING:
    from netplumb.api.v1 import netplumb_pb2 as pb

Node: TypeAlias = Annotated[
    str, typer.Option("--node", metavar="NODE", help="For that node of the cluster, by etcd, instead of a daemon.")
]
NodesDocuments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--document", metavar="NAME", help="With --node: what was written to etcd under this name, readable or not."
    ),
]
AllNodes: TypeAlias = Annotated[bool, typer.Option("--all-nodes", help="Those of all nodes of the cluster, by etcd.")]
ClusterConfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file that says where etcd is; /etc/netplumb/netplumb.yaml without."
    ),
]


class Elsewhere(Protocol):
    """Exits with a line for each mistake where it cannot be done."""

    def apply(self, config: Path | None, node: str, request: "pb.ApplyRequest") -> "Sequence[pb.Applied]": ...
    def delete(self, config: Path | None, node: str, request: "pb.DeleteRequest") -> "pb.DeleteResponse": ...
    def delete_documents(
        self, config: Path | None, node: str, names: "Sequence[str]", *, dry_run: bool
    ) -> "tuple[Sequence[str], Sequence[str]]":
        """Those that are deleted, and those that are not there."""

    def attachments(self, config: Path | None) -> list[dict[str, Any]]: ...


_doing: list[Elsewhere] = []


def done_by(elsewhere: Elsewhere) -> None:
    _doing[:] = [elsewhere]


def elsewhere() -> Elsewhere:
    return _doing[0]


def refuse_config(config: Path | None, option: str) -> None:
    if config is not None:
        raise typer.BadParameter(f"says where etcd is, which is of use with {option} alone", param_hint="--config")
