"""What the remote server proves itself with, and by whom its clients have to be signed: files, read again when they
change, so that certificates are renewed without a restart."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import grpc
import structlog

from netplumb.models.errors import NetplumbError

Signature: TypeAlias = tuple[tuple[int, ...], ...]

log = structlog.get_logger(__name__)


class CertificateUnusable(NetplumbError):
    """A file cannot be read, or holds no certificate or key; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Files:
    certificate: Path
    key: Path
    authority: Path

    def signature(self) -> Signature:
        """Changes with the files. Raises OSError."""
        found = [path.stat() for path in (self.certificate, self.key, self.authority)]
        return tuple((it.st_ino, it.st_size, it.st_mtime_ns) for it in found)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Raises CertificateUnusable."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            for path in (self.certificate, self.key, self.authority):
                path.read_bytes()  # an error of ssl's own does not name the file
            context.load_cert_chain(self.certificate, self.key, password="")
            context.load_verify_locations(self.authority)
        except ssl.SSLError as error:
            which = f"{self.certificate}, {self.key} and {self.authority}"
            raise CertificateUnusable(f"{which} are no certificate, its key and an authority: {error.reason}") from None
        except (OSError, ValueError) as error:
            raise CertificateUnusable(_words(error)) from None
        pairs = [(self.key.read_bytes(), self.certificate.read_bytes())]
        return grpc.ssl_server_certificate_configuration(pairs, root_certificates=self.authority.read_bytes())


class Renewal:
    """Asked by gRPC before each handshake, in its threads."""

    def __init__(self, files: Files, began: Callable[[], None]) -> None:
        self._files = files
        self._began = began
        self._seen = files.signature()
        self._told = ""

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """None while nothing has changed, or while what has is unusable."""
        self._began()
        try:
            seen = self._files.signature()
            if seen == self._seen:
                return None
            renewed = self._files.read()
        except (OSError, CertificateUnusable) as error:
            if self._told != str(error):
                log.warning("remote clients are served with the certificate of before", cause=str(error))
            self._told = str(error)
            return None
        self._seen, self._told = seen, ""
        log.info("remote clients are served with a renewed certificate", certificate=str(self._files.certificate))
        return renewed


def credentials(files: Files, began: Callable[[], None]) -> grpc.ServerCredentials:
    """Those of a server that lets in nobody without a certificate of its authority; `began` is called for each that
    comes. Raises CertificateUnusable."""
    first = files.read()
    # The stub leaves out the None that the documentation wants where nothing has changed.
    renewal = cast("Callable[[], grpc.ServerCertificateConfiguration]", Renewal(files, began))
    return grpc.dynamic_ssl_server_credentials(first, renewal, require_client_authentication=True)


def _words(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
