"""PURE: the JSON Schemas of what people write: one for each kind of document in state files, one for the settings.

Draft 7, which every editor knows. What no schema can say (a key that is given twice, sums, what depends on the node) is
left to the daemon and to `netplumb validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from netplumb.models import written
from netplumb.models.settings import Settings
from netplumb.models.statefile import KINDS
from netplumb.models.written import Schema

DRAFT = "http://json-schema.org/draft-07/schema#"
_DEFINITIONS = "definitions"

DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "settings": Settings,
    **{kind.lower(): document for kind, document in KINDS.items()},
}


def schema(name: str) -> Schema:
    """That of the settings file, or of a kind of document."""
    model = DOCUMENTS[name]
    made: Schema = model.model_json_schema(
        ref_template=f"#/{_DEFINITIONS}/{{model}}", schema_generator=_AsWritten, mode="validation"
    )
    inner = {_DEFINITIONS: made.pop("$defs")} if "$defs" in made else {}
    return {"$schema": DRAFT, **made, "title": f"netplumb: {name}", **inner}


class _AsWritten(GenerateJsonSchema):
    """Knows that the daemon reads scalars as text, and that names of fields need no title."""

    def bool_schema(self, schema: core_schema.BoolSchema) -> Schema:  # noqa: ARG002
        return dict(written.BOOLEAN)

    def int_schema(self, schema: core_schema.IntSchema) -> Schema:
        return super().int_schema(schema) | written.INTEGER

    def float_schema(self, schema: core_schema.FloatSchema) -> Schema:
        return super().float_schema(schema) | written.NUMBER

    def str_schema(self, schema: core_schema.StringSchema) -> Schema:
        return super().str_schema(schema) | written.TEXT

    def dict_schema(self, schema: core_schema.DictSchema) -> Schema:
        keys = {word: it for word, it in self.generate_inner(schema["keys_schema"]).items() if word != "type"}
        made: Schema = {
            "type": "object",
            "propertyNames": keys,
            "additionalProperties": self.generate_inner(schema["values_schema"]),
        }
        if (most := schema.get("max_length")) is not None:
            made["maxProperties"] = most
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False
