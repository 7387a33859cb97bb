"""State files as people and programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host


def document(
    workload_id: str, netns: Host | str, *, addresses: Sequence[str] = (), app: str = "", create: bool = False
) -> str:
    """One document; a name is that of a namespace that may be created."""
    where = f"path: {netns.path}" if isinstance(netns, Host) else f"name: {netns}, create: {str(create).lower()}"
    lines = ["kind: Attachment", f"workload_id: {workload_id}", f"netns: {{{where}}}"]
    if addresses:
        lines.append(f"addresses: [{', '.join(addresses)}]")
    if app:
        lines.append(f"labels: {{app: {app}}}")
    return "\n".join(lines) + "\n"


def declare(daemon: Daemon, name: str, *documents: str) -> Path:
    """Writes a file in one go, as an editor that saves does."""
    path = daemon.state_files / name
    beside = path.with_name(f".{name}.tmp")
    beside.write_text("---\n".join(documents))
    return beside.rename(path)
