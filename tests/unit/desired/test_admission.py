"""What the settings say about a wish: kernel parameters that may be set, annotations that are kept."""

from __future__ import annotations

import pytest

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.errors import InvalidRequest
from netplumb.models.settings import Settings
from netplumb.reconciler.desired.admission import ANNOTATIONS_MAX_BYTES, admitted


def wish(**fields: object) -> AttachmentSpec:
    return AttachmentSpec.model_validate({"workload_id": "web", "netns": {"name": "web"}, **fields})


@pytest.mark.parametrize("name", ["net.core.somaxconn", "net/core/somaxconn", "net.ipv4.tcp_keepalive_time"])
def test_a_listed_parameter_may_be_set(name: str) -> None:
    """With dots or with slashes."""
    assert admitted(wish(sysctls={name: "7"}), Settings()).sysctls == {name.replace(".", "/"): "7"}


@pytest.mark.parametrize("name", ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.core.somaxconn2"])
def test_any_other_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match="workload_sysctls") as caught:
        admitted(wish(sysctls={name: "1"}), Settings())
    assert name in str(caught.value)


def test_annotations_are_kept_by_pattern_up_to_a_bound() -> None:
    """None by default; what does not fit is left out, and nothing fails."""
    annotations = {"a/1": "x", "a/2": "y" * ANNOTATIONS_MAX_BYTES, "a/3": "z", "b/1": "w"}
    spec = wish(annotations=annotations)
    assert admitted(spec, Settings()).annotations == {}
    assert admitted(spec, Settings(annotation_keys=("a/*",))).annotations == {"a/1": "x"}
    assert admitted(spec, Settings(annotation_keys=("b/*", "a/1"))).annotations == {"a/1": "x", "b/1": "w"}


def test_annotations_of_a_prefix_are_labels() -> None:
    """Under the rest of their name; a label that is said as one wins, and what can be no label fails nothing."""
    annotations = {"l/app": "web", "l/tier": "a", "l/": "x", "l/long": "y" * 2000, "other": "z"}
    spec = wish(annotations=annotations, labels={"tier": "b"})
    assert admitted(spec, Settings()).labels == {"tier": "b"}
    assert admitted(spec, Settings(label_annotation_prefix="l/")).labels == {"tier": "b", "app": "web"}
