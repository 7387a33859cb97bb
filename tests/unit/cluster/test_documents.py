"""Documents in etcd become one partition of desired state; one that is broken takes nothing away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.networkpolicy import Manifest, ManifestKey
from netplumb.reconciler.cluster.documents import ClusterDocuments
from netplumb.reconciler.cluster.etcd.entries import Entry


class Wanted:
    """What documents went to."""

    def __init__(self) -> None:
        self.attachments: dict[AttachmentKey, AttachmentSpec] = {}
        self.manifests: dict[ManifestKey, Manifest] = {}
        self.mistakes: dict[str, str] = {}

    async def amend(self, source: str, specs: Sequence[AttachmentSpec], dropped: Sequence[AttachmentKey]) -> None:
        assert source == "cluster"
        self.attachments |= {spec.key: spec for spec in specs}
        for key in dropped:
            del self.attachments[key]

    async def amend_policies(self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> None:
        assert source == "cluster"
        self.manifests |= {it.key: it for it in manifests}
        for key in dropped:
            del self.manifests[key]

    def declared_by(self, source: str) -> tuple[Mapping[AttachmentKey, AttachmentSpec], Mapping[ManifestKey, Manifest]]:
        assert source == "cluster"
        return self.attachments, self.manifests

    def broken(self, source: str, message: str) -> None:
        self.mistakes[source] = message

    @property
    def workloads(self) -> list[str]:
        return [key.workload_id for key in self.attachments]


def entry(content: object, modified: int = 1) -> Entry:
    text = content if isinstance(content, str) else json.dumps(content)
    return Entry(text.encode(), 1, modified)


def attachment(workload_id: str, **more: object) -> dict[str, object]:
    return {"kind": "Attachment", "workload_id": workload_id, "netns": {"name": workload_id}, **more}


NAMESPACE = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}


@pytest.fixture
def wanted() -> Wanted:
    return Wanted()


async def test_documents_are_wanted_changed_and_withdrawn(wanted: Wanted) -> None:
    documents = ClusterDocuments(wanted)
    await documents.take({"web": entry(attachment("web")), "db": entry(attachment("db"))}, {"shop": entry(NAMESPACE)})
    assert wanted.workloads == ["db", "web"]
    assert len(wanted.manifests) == 1
    await documents.take({"web": entry(attachment("web", mtu=1400), 2)}, {})
    (spec,) = wanted.attachments.values()
    assert (spec.key.workload_id, spec.mtu) == ("web", 1400)
    assert wanted.manifests == {}


async def test_a_broken_document_keeps_its_last_good_content(wanted: Wanted) -> None:
    documents = ClusterDocuments(wanted)
    await documents.take({"web": entry(attachment("web")), "db": entry(attachment("db"))}, {})
    await documents.take({"web": entry("kind: [", 2)}, {})
    assert wanted.workloads == ["web"]
    assert "cluster/web" in wanted.mistakes
    await documents.take({"web": entry(attachment("web"), 3)}, {})
    assert wanted.mistakes["cluster/web"] == ""


async def test_nothing_goes_while_a_broken_documents_content_is_not_known(wanted: Wanted) -> None:
    """After a start: what is wanted since before it may be what that document said."""
    await ClusterDocuments(wanted).take({"web": entry(attachment("web")), "db": entry(attachment("db"))}, {})
    documents = ClusterDocuments(wanted)
    await documents.take({"web": entry("kind: [", 2), "new": entry(attachment("new"))}, {})
    assert sorted(wanted.workloads) == ["db", "new", "web"]
    await documents.take({"web": entry(attachment("web"), 3), "new": entry(attachment("new"))}, {})
    assert sorted(wanted.workloads) == ["new", "web"]


async def test_what_is_in_the_wrong_place_is_refused(wanted: Wanted) -> None:
    documents = ClusterDocuments(wanted)
    await documents.take({"shop": entry(NAMESPACE)}, {"web": entry(attachment("web"))})
    assert (wanted.workloads, wanted.manifests) == ([], {})
    assert "all nodes'" in wanted.mistakes["cluster/shop"]
    assert "one node's" in wanted.mistakes["cluster/web"]


async def test_of_two_that_say_the_same_key_the_first_counts(wanted: Wanted) -> None:
    documents = ClusterDocuments(wanted)
    await documents.take({"b": entry(attachment("web", mtu=1400)), "a": entry(attachment("web", mtu=1300))}, {})
    assert [spec.mtu for spec in wanted.attachments.values()] == [1300]
    assert "is declared by a too" in wanted.mistakes["cluster/b"]


@pytest.mark.parametrize("where", ["own", "shared"])
async def test_others_have_their_turn_while_a_large_document_is_read(wanted: Wanted, where: str) -> None:
    """Whoever writes it, for one node or for all."""
    large = {"big": entry(attachment("big", labels={f"k{number}": "v" for number in range(2_000)}))}
    documents = ClusterDocuments(wanted)
    taking = asyncio.create_task(documents.take(**{"own": {}, "shared": {}, where: large}))
    turns = 0
    while not taking.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    assert "has more than" in wanted.mistakes["cluster/big"]


async def test_two_of_one_attachment_are_told_for_as_long_as_there_are_two() -> None:
    wanted = Wanted()
    documents = ClusterDocuments(wanted)
    both = {"a1": entry(attachment("c", labels={"by": "a1"})), "a2": entry(attachment("c", labels={"by": "a2"}))}
    await documents.take(both, {})
    assert "is declared by a1 too, which counts" in wanted.mistakes["cluster/a2"]
    await documents.take({"a2": both["a2"]}, {})
    assert wanted.mistakes["cluster/a2"] == ""
    assert wanted.attachments[AttachmentKey("c", "eth0")].labels == {"by": "a2"}


async def test_one_that_comes_broken_holds_up_no_other() -> None:
    """It never said anything, so that what others no longer want may go."""
    wanted = Wanted()
    documents = ClusterDocuments(wanted)
    own = {"web": entry(attachment("web")), "db": entry(attachment("db"))}
    await documents.take(own, {})
    own["oops"] = entry("kind: Nothing")
    await documents.take(own, {})
    assert "taken away" not in wanted.mistakes["cluster/oops"]
    del own["web"]
    await documents.take(own, {})
    assert wanted.workloads == ["db"]


async def test_one_that_is_broken_at_a_start_says_that_nothing_goes() -> None:
    wanted = Wanted()
    wanted.attachments[AttachmentKey("web", "eth0")] = AttachmentSpec.model_validate(
        {key: it for key, it in attachment("web").items() if key != "kind"}
    )
    documents = ClusterDocuments(wanted)
    await documents.take({"web": entry("kind: [")}, {})
    assert "nothing that documents wanted is taken away" in wanted.mistakes["cluster/web"]
    assert wanted.workloads == ["web"]
    await documents.take({}, {})
    assert (wanted.workloads, wanted.mistakes["cluster/web"]) == ([], "")
