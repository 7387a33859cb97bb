"""What a node does whose settings say no cluster any more: nothing that its cluster wanted of it is wanted, the ways to
the others go, and it forgets what it knew of them. What it holds in etcd stays its, until somebody removes it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from netplumb.models.attachment import CLUSTER_SOURCE
from netplumb.models.cluster import KEPT_FILES
from netplumb.models.errors import StepError, StoreUnwritable
from netplumb.reconciler.cluster.documents import Desired
from netplumb.reconciler.converge.ways import WaysKernel
from netplumb.reconciler.decide.plan import plan

AGAIN_S = 2.0

log = structlog.get_logger(__name__)


async def leave(known: Path, desired: Desired, withdrawn: Callable[[], None]) -> None:
    """Until all of it is done, and on until cancelled. `known` is the file of the cluster; `withdrawn` is called once
    the cluster's documents are."""
    while True:
        try:
            attachments, manifests = desired.declared_by(CLUSTER_SOURCE)
            await desired.amend_policies(CLUSTER_SOURCE, (), tuple(manifests))
            await desired.amend(CLUSTER_SOURCE, (), tuple(attachments))
            withdrawn()
            await asyncio.to_thread(_forget, known)
            break
        except (StepError, StoreUnwritable, OSError) as error:
            log.warning("what the cluster left is not gone yet", cause=str(error))
            await asyncio.sleep(AGAIN_S)
    log.info("this node is in no cluster any more", documents=len(attachments) + len(manifests))
    await asyncio.Event().wait()


def _forget(known: Path) -> None:
    """The ways first. Raises StepError, OSError."""
    kernel = WaysKernel()
    try:
        seen = kernel.read_all()
        for error in kernel.apply(plan((), seen.objects).steps, seen):
            raise error
    finally:
        kernel.close()
    for name in reversed(KEPT_FILES):  # the one by which it is known that there was a cluster is the last to go
        known.with_name(name).unlink(missing_ok=True)
