"""What is inside of workloads' namespaces: whether they are there, and their kernel parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from netplumb.models.attachment import Attachment
from netplumb.models.errors import NotANetworkNamespace, StepError
from netplumb.reconciler.doctor.facts import WorkloadFacts
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.namespaces import NamespaceMissingError, Namespaces

_OF_ALL = ("net/ipv6/conf/{link}/disable_ipv6", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/{link}/rp_filter")


def read_workloads(attachments: Iterable[Attachment]) -> tuple[WorkloadFacts, ...]:
    with closing(Namespaces()) as namespaces:
        return tuple(_facts(it, namespaces) for it in attachments)


def _facts(attachment: Attachment, namespaces: Namespaces) -> WorkloadFacts:
    name = str(attachment.key)
    try:
        with namespaces.open(attachment.spec.netns.where) as namespace:
            if attachment.netns_cookie not in (0, namespace.cookie) and not attachment.is_declared:
                return WorkloadFacts(name, found=False)
            with namespaces.inside(namespace.fd):
                return WorkloadFacts(name, sysctls=dict(_values(attachment)))
    except (NamespaceMissingError, NotANetworkNamespace, StepError):
        return WorkloadFacts(name, found=False)


def _values(attachment: Attachment) -> Iterator[tuple[str, str]]:
    common = (name.format(link=attachment.spec.if_name) for name in _OF_ALL)
    for name in (*common, *attachment.spec.sysctls):
        if (value := sysctls.read(name)) is not None:
            yield name, sysctls.canonical(value)
