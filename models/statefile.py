"""What a document of a state file says: a kind, and beside it the fields of that kind's wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from pydantic import Field

from netplumb.models.attachment import AttachmentKey, AttachmentSpec, DetachSpec
from netplumb.models.networkpolicy import MANIFESTS, Manifest, ManifestKey

SUFFIXES = (".yaml", ".yml", ".json")


def is_state_file(name: str) -> bool:
    """By its name. Editors' files are none: they start with a dot, or end in `~`, `.swp`, `.tmp`, `#` or nothing."""
    return name.endswith(SUFFIXES) and not name.startswith((".", "#"))


@dataclass(frozen=True, slots=True)
class StateFile:
    """One as it may be put into the directory."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Application:
    """Documents to be applied; with `prune`, instead of what was applied before."""

    files: tuple[StateFile, ...]
    prune: bool = False


class Result(Enum):
    """What became of a key that was applied."""

    CREATED = "created"
    WAITING = "waiting"  # was not wished before, and cannot be had now
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    PRUNED = "pruned"


@dataclass(frozen=True, slots=True)
class Applied:
    """`changes` are the fields that are wished otherwise than before; `waiting` is why it cannot be had now."""

    key: AttachmentKey | ManifestKey
    result: Result
    changes: tuple[str, ...] = ()
    waiting: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Keys that were applied and are withdrawn, and those that were not."""

    deleted: tuple[AttachmentKey | ManifestKey, ...]
    missing: tuple[AttachmentKey | ManifestKey, ...]


WhatIf: TypeAlias = AttachmentSpec | DetachSpec | tuple[StateFile, ...] | Application | None
"""What is planned for: one wish, state files that are put into place, documents that are applied, or nothing, which
means the whole node."""


class AttachmentDocument(AttachmentSpec):
    """One attachment, declared in a state file."""

    kind: Literal["Attachment"] = Field(description="What the document declares")

    @property
    def spec(self) -> AttachmentSpec:
        """The wish alone, equal to the same wish said over gRPC."""
        return AttachmentSpec.model_construct(**{name: getattr(self, name) for name in AttachmentSpec.model_fields})


KINDS: Mapping[str, type[AttachmentDocument | Manifest]] = {"Attachment": AttachmentDocument, **MANIFESTS}
"""What a document may be, by its `kind`."""
