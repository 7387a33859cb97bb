"""What is left of workloads once they are gone: nothing, anywhere."""

from __future__ import annotations

from tests import namespaces
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import kernel_state
from tests.e2e.waiting import comes_true
from tests.runtimes import places

GONE_WITHIN_S = 20.0


class Remains:
    """Compares what is there with what was there before: the node's kernel objects and rules, netplumb's attachments,
    named namespaces, and what libcni keeps of plugins' answers."""

    def __init__(self, daemon: Daemon, before: set[str]) -> None:
        self._daemon = daemon
        self._before = before

    @classmethod
    async def before(cls, daemon: Daemon) -> Remains:
        return cls(daemon, await _everything(daemon))

    async def are_none(self, *, but: str = "") -> None:
        """Waits until all is as it was, but for what begins like this; the kernel takes a moment to let go of a
        namespace."""
        now: set[str] = set()

        async def same() -> bool:
            nonlocal now
            now = {line for line in await _everything(self._daemon) if not (but and line.startswith(but))}
            return now == self._before

        if not await comes_true(same, within_s=GONE_WITHIN_S):
            left, missing = sorted(now - self._before), sorted(self._before - now)
            raise AssertionError(
                "\n".join([*(f"left: {line}" for line in left), *(f"lost: {line}" for line in missing)])
            )


async def _everything(daemon: Daemon) -> set[str]:
    async with daemon.client() as client:
        attachments = {f"attachment {found.workload_id}/{found.if_name}" async for found in client.list()}
    return {
        *kernel_state(daemon.node),
        *(f"nftables: {line}" for line in daemon.node.ruleset().splitlines()),
        *(f"qdisc: {line}" for line in daemon.node.run("tc qdisc show").splitlines()),
        *(f"namespace {path.name}" for path in namespaces.NETNS_DIR.iterdir()),
        *(f"result {path.name}" for path in places.RESULTS_DIR.rglob("*") if path.is_file()),
        *attachments,
    }
