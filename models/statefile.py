"""What a document of a state file says: a kind, and beside it the fields of that kind's wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import Field

from netplumb.models.attachment import AttachmentSpec, DetachSpec

SUFFIXES = (".yaml", ".yml", ".json")


def is_state_file(name: str) -> bool:
    """By its name. Editors' files are none: they start with a dot, or end in `~`, `.swp`, `.tmp`, `#` or nothing."""
    return name.endswith(SUFFIXES) and not name.startswith((".", "#"))


@dataclass(frozen=True, slots=True)
class StateFile:
    """One as it may be put into the directory."""

    name: str
    content: bytes


WhatIf: TypeAlias = AttachmentSpec | DetachSpec | tuple[StateFile, ...] | None
"""What is planned for: one wish, state files that are put into place, or nothing, which means the whole node."""


class AttachmentDocument(AttachmentSpec):
    """One attachment, declared in a state file."""

    kind: Literal["Attachment"] = Field(description="What the document declares; only attachments so far")

    @property
    def spec(self) -> AttachmentSpec:
        """The wish alone, equal to the same wish said over gRPC."""
        return AttachmentSpec.model_construct(**{name: getattr(self, name) for name in AttachmentSpec.model_fields})


KINDS: Mapping[str, type[AttachmentDocument]] = {"Attachment": AttachmentDocument}
"""What a document may be, by its `kind`."""
