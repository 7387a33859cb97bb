"""What holds where a client says nothing. Imports nothing heavy: `netplumb --help` shows these."""

from __future__ import annotations

from pathlib import Path

SOCKET_VARIABLE = "NETPLUMB_SOCKET"
DEFAULT_SOCKET = Path("/run/netplumb/workloadnet.sock")
DEFAULT_IF_NAME = "eth0"
DEFAULT_TIMEOUT_S = 30.0
