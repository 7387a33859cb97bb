"""PURE: what a wish says beside a record that is there already: the same, or something else; this one, or another."""

from __future__ import annotations

from collections.abc import Set

from netplumb.models.attachment import Attachment, AttachmentKey, DetachSpec


def same_wish(before: Attachment, after: Attachment) -> bool:
    """Whether two records ask for the same. A state file's wish is a path, whichever namespace is there."""
    return (
        not before.removing
        and before.spec.model_copy(update={"addresses": (), "mac": ""})
        == after.spec.model_copy(update={"addresses": (), "mac": ""})
        and before.source == after.source
        and before.addresses == after.addresses
        and before.mac == after.mac
        and (before.netns_cookie == after.netns_cookie or after.is_declared)
    )


def means(spec: DetachSpec, path_cookie: int, record: Attachment) -> bool:
    """Whether a Detach means this attachment, or is the late echo of one for an older sandbox."""
    if record.is_rebuilt and not record.netns_cookie:
        return True  # neither its container nor its namespace is known; the key is all there is to go by
    if spec.container_id and record.spec.container_id:
        return spec.container_id == record.spec.container_id
    if not spec.netns_path or spec.netns_path == record.spec.netns.where:
        return True
    return bool(path_cookie) and path_cookie == record.netns_cookie


def is_dead(record: Attachment, alive: Set[AttachmentKey]) -> bool:
    """Whether a runtime's list of what lives does not name it: by container id, or by workload where it has none."""
    spec = record.spec
    return AttachmentKey(spec.container_id or spec.workload_id, spec.if_name) not in alive
