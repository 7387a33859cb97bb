"""What this node shows etcd, and by what it knows etcd, read from files anew for each connection. gRPC would say of a
file that is none of these, or of a key that is another certificate's, no more than that it cannot connect.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd.errors import Refused

_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}


def credentials(settings: ClusterSettings) -> grpc.ChannelCredentials:
    """Raises Refused, which names the setting and the file."""
    ca, cert, key = settings.ca, settings.cert, settings.key
    contents = tuple(map(content, (ca, key, cert)))
    for setting, file in (("ca", ca), ("cert", cert)):
        if file is not None:
            _check_certificates(setting, file)
    if cert is not None and key is not None:
        _check_key(cert, key)
    return grpc.ssl_channel_credentials(*contents)


def content(file: Path | None) -> bytes | None:
    """Raises Refused."""
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}") from None


def _check_certificates(setting: str, file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError as error:
        raise Refused(f"{setting}: {file} holds no certificate in PEM ({error.reason or error})") from None


def _check_key(cert: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason in _OF_ANOTHER:
            raise Refused(f"key: {key} is not the key of the certificate in {cert}") from None
        why = error.reason or "PEM"
        raise Refused(f"key: {key} holds no key in PEM that can be read without a password ({why})") from None
