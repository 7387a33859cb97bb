"""Whether each member of etcd answers this node, and what time it is there. Imported only where a cluster is set."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.etcd.connection import CALL_S, Connection
from netplumb.reconciler.cluster.etcd.errors import EtcdError, Refused
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.doctor.facts import CertificateFacts, ClusterFacts, EndpointFacts
from netplumb.reconciler.doctor.reading.certificates import validities


def read_etcd(settings: ClusterSettings) -> ClusterFacts:
    """Takes no longer than one call."""
    return asyncio.run(_read(settings))


async def _read(settings: ClusterSettings) -> ClusterFacts:
    asked = asyncio.gather(*(_endpoint(settings, it) for it in settings.endpoints))
    told = asyncio.gather(*(asyncio.to_thread(_ahead_s, settings, it) for it in settings.endpoints))
    clocks = [it for it in await told if it is not None]
    return ClusterFacts(
        endpoints=tuple(await asked),
        certificates=tuple(_certificates(settings)),
        clock_ahead_s=min(clocks, key=abs, default=0.0),
    )


async def _endpoint(settings: ClusterSettings, endpoint: str) -> EndpointFacts:
    connection = Connection(settings.model_copy(update={"endpoints": (endpoint,)}))
    try:
        await Client(connection).read(Layout(settings.prefix).accepted)
    except Refused as error:
        return EndpointFacts(endpoint, str(error), refused=True)
    except EtcdError as error:
        return EndpointFacts(endpoint, str(error))
    finally:
        await connection.close()
    return EndpointFacts(endpoint)


def _ahead_s(settings: ClusterSettings, endpoint: str) -> float | None:
    """By how much this node's clock is ahead, to the second; None where that is not told."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    with suppress(OSError, HTTPException, ValueError, TypeError):
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=settings.ca)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the time is asked for
            if settings.cert is not None:
                context.load_cert_chain(settings.cert, settings.key, password="")
            asked: HTTPConnection = HTTPSConnection(parts.hostname, parts.port, timeout=CALL_S, context=context)
        else:
            asked = HTTPConnection(parts.hostname, parts.port, timeout=CALL_S)
        try:
            asked.request("HEAD", "/version")
            date = asked.getresponse().getheader("Date", "")
            return time.time() - parsedate_to_datetime(date).timestamp()
        finally:
            asked.close()
    return None


def _certificates(settings: ClusterSettings) -> list[CertificateFacts]:
    return [
        _certificate(name, path, is_authority=name == "ca")
        for name, path in (("ca", settings.ca), ("cert", settings.cert))
        if path is not None
    ]


def _certificate(name: str, path: Path, *, is_authority: bool) -> CertificateFacts:
    """Of several authorities one that is valid is enough; of a chain all have to be."""
    try:
        found = validities(path)
    except (OSError, ValueError) as error:
        return CertificateFacts(name, path, trouble=str(error))
    choose = max if is_authority else min
    ends = choose(end for _, end in found)
    begins = max(begin for begin, end in found if not is_authority or end == ends)
    return CertificateFacts(name, path, valid_in_s=begins - time.time(), ends_in_s=ends - time.time())
