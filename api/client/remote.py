"""A daemon elsewhere: its address, and the certificates by which it and its client know each other."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

PROBE_TIMEOUT_S = 3.0
_LISTENS_S = 0.5
"""How long a server that takes the client's certificate may take to say anything: it speaks first."""


class NotLetIn(ConnectionError):
    """A daemon answered, and lets nobody in with that certificate."""


@dataclass(frozen=True, slots=True)
class Remote:
    """`address` is a host and a port, as in node-7:9480; the host has to be a name in the daemon's certificate. `ca` is
    the authority that signed that, `cert` and `key` are the client's own; all are PEM files.

        elsewhere = netplumb.Remote("node-7:9480", ca="ca.crt", cert="me.crt", key="me.key")
        with netplumb.Client(elsewhere) as client:
            ...
    """

    address: str
    ca: Path | str
    cert: Path | str
    key: Path | str

    def __str__(self) -> str:
        return self.address

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError."""
        ca, key, cert = (Path(it).read_bytes() for it in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)

    def why_unreachable(self) -> OSError | None:
        """What a connection fails with, None if a daemon answers. gRPC tells nobody; ssl's errors are OSErrors."""
        try:
            self.credentials()  # an error of ssl's own would name no file
            host, port = self._host_and_port()
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.cert, self.key)
            context.set_alpn_protocols(["h2"])
            with (
                socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection,
                context.wrap_socket(connection, server_hostname=host) as secured,
            ):
                secured.settimeout(_LISTENS_S)
                try:
                    said = secured.recv(1)
                except TimeoutError:
                    return None
                return None if said else NotLetIn(f"takes no certificate such as {self.cert}")
        except OSError as error:
            return error

    def _host_and_port(self) -> tuple[str, int]:
        host, colon, port = self.address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit()):
            raise OSError(0, f"{self.address!r} is no address such as node-7:9480")
        return host.removeprefix("[").removesuffix("]"), int(port)


def words(where: Path | Remote, error: OSError) -> str:
    """What failed, for a person: whether nobody answered, or somebody who is of no use."""
    if isinstance(error, NotLetIn):
        return (
            f"the daemon on {where} {error}: it is past its time, for another use, or not signed by the authority that "
            "the daemon's setting remote_ca names"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"who answers on {where} is not to be trusted, by its certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"who answers on {where} is no daemon: {(error.reason or str(error)).lower().replace('_', ' ')}"
    why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return f"no daemon answers on {where}: {why}"
