"""What `netplumb trace` says on the node of a test."""

from __future__ import annotations

from typing import Any

from netplumb.reconciler.settings import configuration
from netplumb.reconciler.tracing.hops import Outcome, Trace
from netplumb.reconciler.tracing.run import trace as follow
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host

PORT = 8080


def trace(daemon: Daemon, source: str, target: str, **asked: Any) -> Trace:
    """On the node, in this process: a start of the command would take longer than the trace."""
    wanted: dict[str, Any] = {"protocol": "tcp", "port": PORT, "ipv6": False} | asked
    with daemon.node.enter():
        settings = configuration.load({"data_dir": daemon.data_dir}, daemon.config, {}).settings
        return follow(settings, source, target, **wanted)


def ends(found: Trace, *words: str) -> str:
    """It ends, for a reason with these words; returns what heals it."""
    assert found.outcome is Outcome.ENDS, found
    assert all(word in found.why for word in words), found
    return found.heal


def arrives(found: Trace) -> str:
    assert found.outcome is Outcome.ARRIVES, found
    return "\n".join(f"{hop.where}: {hop.what}" for hop in found.hops)


def live(daemon: Daemon, source: str, target: str, **asked: Any) -> Trace:
    """Nothing of it is left behind."""
    found = trace(daemon, source, target, live=True, **asked)
    for host in map(Host, ("node", "web", "db")):
        assert not host.exists or "netplumb_trace" not in host.ruleset()
    assert any(hop.seen for hop in found.hops), found
    return found
