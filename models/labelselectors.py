"""Label selectors as Kubernetes has them (meta/v1 LabelSelector): what is matched is a set of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from netplumb.models.base import Model
from netplumb.models.fields import LabelKey, LabelValue


@dataclass(frozen=True, slots=True)
class nothing_is:  # noqa: N801 - said of a field, as pydantic's own are
    """In a manifest, a field without a value means that it was left out."""

    empty: object

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def filled(value: Any) -> Any:
            return self.empty if value is None else value

        return core_schema.no_info_before_validator_function(filled, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Model):
    """One of `matchExpressions`. NotIn and DoesNotExist hold where the label is missing, too."""

    key: LabelKey = Field(description="The label")
    operator: Operator = Field(description="How its value relates to the values")
    values: Annotated[tuple[LabelValue, ...], nothing_is(())] = Field(
        default=(), max_length=64, description="For In and NotIn"
    )

    @model_validator(mode="after")
    def _values_as_the_operator_wants(self) -> Self:
        if self.operator in (Operator.IN, Operator.NOT_IN):
            if not self.values:
                raise ValueError(f"values: {self.operator} needs at least one")
        elif self.values:
            raise ValueError(f"values: {self.operator} takes none")
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels

    def __str__(self) -> str:
        return f"{self.key} {self.operator}" + (f" ({', '.join(self.values)})" if self.values else "")


class LabelSelector(Model):
    """All of it must hold; an empty one selects everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], nothing_is({})] = Field(
        default_factory=dict, alias="matchLabels", max_length=64, description="Labels that must have these values"
    )
    match_expressions: Annotated[tuple[Requirement, ...], nothing_is(())] = Field(
        default=(), alias="matchExpressions", max_length=64, description="What else must hold of the labels"
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.match_labels.items() <= labels.items() and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )

    def __str__(self) -> str:
        words = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        words += map(str, self.match_expressions)
        return ", ".join(words) or "everything"
