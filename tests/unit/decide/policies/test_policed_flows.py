"""Which flows of a node's table policies would not let begin, however many there are."""

from __future__ import annotations

from ipaddress import ip_address

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.flows import Flow
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.decide.policies.flows import PolicedFlows
from tests.unit.decide.policies.manifests import DENY_INGRESS, policies

TCP = 6
DB, WEB, ELSEWHERE = "10.0.0.2", "10.0.0.3", "192.0.2.1"


def workload(name: str, address: str, namespace: str = "shop") -> Attachment:
    spec = AttachmentSpec.model_validate(
        {"workload_id": name, "netns": NetnsRef(name=name), "namespace": namespace, "labels": {"app": name}}
    )
    return Attachment(spec=spec, addresses=(ip_address(address),), mac="02:00:00:00:00:01", source="rpc")


def flow(source: str, to: str, port: int = 80, began_at: int = 1024) -> Flow:
    ends = (ip_address(source).packed, began_at), (ip_address(to).packed, port)
    return Flow(TCP, *ends, ends[1], ends[0])


def test_a_client_that_connects_again_and_again_is_judged_once() -> None:
    """A table holds thousands of flows of few pairs, and a judgement goes over policies and peers."""
    asked: list[bytes] = []

    def is_local(ip: bytes) -> bool:
        asked.append(ip)
        return False

    records = [workload("db", DB), workload("web", WEB, "front")]
    policed = PolicedFlows(PolicySet(tuple(policies(DENY_INGRESS))), records, is_local)
    assert all(policed.forbid(flow(WEB, DB, began_at=port)) for port in range(1024, 2024))
    assert len(asked) == len((WEB, DB))
    assert policed.allow(flow(DB, WEB)), "the other way it is another question"
    assert policed.forbid(flow(ELSEWHERE, DB))
