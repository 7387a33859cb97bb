"""State files as people and programs write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.tenants import repeating

POLICY_FILES, POLICIES_EACH = 300, 5
_REWRITTEN_EVERY_S = 0.02


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


@contextmanager
def rewriting_policies(daemon: Daemon, files: int = POLICY_FILES) -> Iterator[None]:
    """So many files of network policies, of which one after the other says something else all the time."""
    names = [f"policies-{number}.yaml" for number in range(files)]
    for name in names:
        declare(daemon, name, *_policies(name, 0))
    numbers = count(1)

    def rewrite() -> None:
        number = next(numbers)
        name = names[number % files]
        declare(daemon, name, *_policies(name, number))

    with repeating(rewrite, _REWRITTEN_EVERY_S):
        yield
    for name in names:
        (daemon.state_files / name).unlink()


def _policies(file: str, number: int) -> list[str]:
    head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    selected = f"spec: {{podSelector: {{matchLabels: {{app: other-{number}}}}}}}\n"
    return [f'{head}metadata: {{name: "{file}-{each}"}}\n{selected}' for each in range(POLICIES_EACH)]
