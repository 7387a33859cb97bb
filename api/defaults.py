"""What holds where a client says nothing. Imports nothing heavy: `netplumb --help` shows these."""

from __future__ import annotations

from pathlib import Path

SOCKET_VARIABLE = "NETPLUMB_SOCKET"
HOST_VARIABLE, CA_VARIABLE = "NETPLUMB_HOST", "NETPLUMB_CA"
CERT_VARIABLE, KEY_VARIABLE = "NETPLUMB_CERT", "NETPLUMB_KEY"
CLIENT_VARIABLES = frozenset({SOCKET_VARIABLE, HOST_VARIABLE, CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE})
DEFAULT_SOCKET = Path("/run/netplumb/workloadnet.sock")
DEFAULT_IF_NAME = "eth0"
DEFAULT_TIMEOUT_S = 30.0
