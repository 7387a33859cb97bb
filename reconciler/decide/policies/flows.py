"""PURE: which flows network policies would not let begin now.

The kernel drops what the asker sends, whenever the flow began; to forget the flow, or to mark it as cut, ends the
answers. What a workload sends or is sent whose labels nobody knows is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from netplumb.models.attachment import Attachment
from netplumb.models.flows import Flow
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, verdict


class PolicedFlows:
    """`is_local` tells whether the node takes an address for its own; `elsewhere` are workloads of other nodes."""

    def __init__(
        self,
        policies: PolicySet,
        attachments: Iterable[Attachment],
        is_local: Callable[[bytes], bool],
        elsewhere: Sequence[Endpoint] = (),
    ) -> None:
        records = [it for it in attachments if not it.removing]
        endpoints = tuple(endpoint_of(it) for it in records if not it.is_rebuilt)
        self._world = World(policies.policies, policies.namespaces, endpoints, elsewhere=elsewhere)
        self._unknown = frozenset(ip.packed for it in records if it.is_rebuilt for ip in it.addresses)
        self._is_local = is_local
        self._allowed: dict[tuple[bytes, bytes, int, int], bool] = {}
        """What was judged already: a client that connects again and again asks the same of the same."""

    def forbid(self, flow: Flow) -> bool:
        return not self._is_of_unknown(flow) and not self._is_allowed(flow)

    def allow(self, flow: Flow) -> bool:
        return not self._is_of_unknown(flow) and self._is_allowed(flow)

    def _is_of_unknown(self, flow: Flow) -> bool:
        return flow.source[0] in self._unknown or flow.answerer[0] in self._unknown

    def _is_allowed(self, flow: Flow) -> bool:
        if not self._world.policies:
            return True
        asked = (flow.source[0], flow.answerer[0], flow.protocol, flow.answerer[1])
        if (known := self._allowed.get(asked)) is None:
            known = self._allowed[asked] = self._judged(*asked)
        return known

    def _judged(self, source: bytes, answerer: bytes, protocol: int, port: int) -> bool:
        if self._is_local(source) or self._is_local(answerer):
            return True
        return verdict(self._world, Packet(ip_address(source), ip_address(answerer), protocol, port)).allowed


def endpoint_of(record: Attachment) -> Endpoint:
    return Endpoint(str(record.key), record.namespace, record.policy_labels, record.addresses)
