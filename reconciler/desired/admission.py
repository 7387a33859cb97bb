"""PURE: what the node's settings say about a wish before it becomes desired state, whichever source it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.errors import InvalidRequest
from netplumb.models.fields import LABEL_VALUE_MAX_CHARS
from netplumb.models.settings import Settings

_JUDGING = ("workload_sysctls", "annotation_keys", "label_annotation_prefix")

LABELS_MAX = 64
ANNOTATIONS_MAX_BYTES = 64 << 10
"""Of one attachment; what goes beyond is not kept, in the order of the keys. Runtimes pass up to 256 KiB."""


def admitted(spec: AttachmentSpec, settings: Settings) -> AttachmentSpec:
    """The wish as it is recorded: with the annotations that are to be kept, and those that are labels. Raises
    InvalidRequest for a kernel parameter that workloads may not set."""
    for name in spec.sysctls:
        if not _matches(name.replace("/", "."), settings.workload_sysctls):
            raise InvalidRequest(
                f"sysctls[{name.replace('/', '.')!r}]",
                "may not be set here; the daemon's setting workload_sysctls lists those that may",
            )
    if not spec.annotations:
        return spec
    annotations = _kept(spec.annotations, settings.annotation_keys)
    labels = _labels(spec, settings.label_annotation_prefix or "")
    return spec.model_copy(update={"annotations": annotations, "labels": labels})


def judge_alike(one: Settings, other: Settings) -> bool:
    """Whether all wishes are admitted by these settings as they are by those."""
    return all(getattr(one, name) == getattr(other, name) for name in _JUDGING)


def _labels(spec: AttachmentSpec, prefix: str) -> dict[str, str]:
    """Those of the wish win. What cannot be a label, or is too many, is left out: people write what they like there."""
    labels = dict(spec.labels)
    for key, value in sorted(spec.annotations.items()):
        name = key.removeprefix(prefix)
        if prefix and name not in ("", key) and len(value) <= LABEL_VALUE_MAX_CHARS and value.isprintable():
            if len(labels) == LABELS_MAX:
                break
            labels.setdefault(name, value)
    return labels


def _kept(annotations: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    kept, size = {}, 0
    for key, value in sorted(annotations.items()):
        if not _matches(key, patterns):
            continue
        size += len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
        if size > ANNOTATIONS_MAX_BYTES:
            break
        kept[key] = value
    return kept


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
