"""A desired state that writes down what it is told, and what tests do to a directory of state files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.errors import StoreUnwritable
from netplumb.models.networkpolicy import Manifest
from netplumb.reconciler.sources.files import StateFiles

# ruff: noqa: ASYNC110 -- what is waited for shows in plain values

WAIT_S = 10


class Recorder:
    """Desired state that writes down what it is told."""

    def __init__(self, *held: str) -> None:
        self.partitions: dict[str, list[str]] = {source: ["before"] for source in held}
        self.policies: dict[str, list[str]] = {}
        self.policy_calls = 0
        self.problems: dict[str, str] = {}
        self.calls: list[tuple[str, ...]] = []
        self.loads = 0
        self.refusing = False
        self.refusing_policies = False

    def declared_sources(self) -> Collection[str]:
        return self.partitions.keys()

    async def declare_policies(self, partitions: Mapping[str, Sequence[Manifest]]) -> None:
        if self.refusing_policies:
            raise StoreUnwritable("the disk is full")
        self.policy_calls += 1
        for source, manifests in partitions.items():
            self.policies[source] = [manifest.key.name for manifest in manifests]

    async def declare(self, source: str, specs: Sequence[AttachmentSpec]) -> None:
        if self.refusing:
            raise StoreUnwritable("the disk is full")
        self.calls.append((source, *(spec.workload_id for spec in specs)))
        self.partitions[source] = [spec.workload_id for spec in specs]
        if not specs:
            del self.partitions[source]

    def broken(self, source: str, message: str) -> None:
        self.problems[source] = message
        if not message:
            del self.problems[source]

    def loaded(self) -> None:
        self.loads += 1


def document(workload_id: str) -> str:
    return f"kind: Attachment\nworkload_id: {workload_id}\nnetns: {{name: {workload_id}}}\n"


def replace(file: Path, text: str) -> None:
    """As editors do: written beside, then renamed over."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text)
    beside.rename(file)


def swap(link: Path, target: str) -> None:
    """As Kubernetes does with ..data: a new symlink renamed over the old one."""
    beside = link.with_name("..data_tmp")
    beside.symlink_to(target)
    beside.rename(link)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(source: StateFiles) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
