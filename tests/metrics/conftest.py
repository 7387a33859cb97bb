"""Debian's Prometheus beside the real daemon, on a node that a namespace plays."""

from __future__ import annotations

from tests.e2e.conftest import client, daemon, directory, make_host, node, outside, own_run, start_daemon, web

__all__ = ["client", "daemon", "directory", "make_host", "node", "outside", "own_run", "start_daemon", "web"]
