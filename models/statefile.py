"""What a document of a state file says: a kind, and beside it the fields of that kind's wish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from netplumb.models.attachment import AttachmentSpec


class AttachmentDocument(AttachmentSpec):
    """One attachment, declared in a state file."""

    kind: Literal["Attachment"] = Field(description="What the document declares; only attachments so far")

    @property
    def spec(self) -> AttachmentSpec:
        """The wish alone, equal to the same wish said over gRPC."""
        return AttachmentSpec.model_construct(**{name: getattr(self, name) for name in AttachmentSpec.model_fields})


KINDS: Mapping[str, type[AttachmentDocument]] = {"Attachment": AttachmentDocument}
"""What a document may be, by its `kind`."""
