"""Answers as plain data, and plain data as JSON or YAML.

The names are those of the proto. Unlike protobuf's own JSON, 64-bit integers are numbers and addresses are text, and
every field is there, so that a script need not know what was left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from ipaddress import ip_address
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ruamel.yaml import YAML

from netplumb.api.cli.options import Format

Plain: TypeAlias = Mapping[str, Any] | list[Mapping[str, Any]]


def plain(message: Message) -> dict[str, Any]:
    """The message as dictionaries, lists and scalars. A field that may be left out and is, is None."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def serialised(data: Plain, output: Format) -> str:
    """The data as one document, closed with a newline."""
    if output is Format.JSON:
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(data, text)
    return text.getvalue()


def _field(message: Message, field: Any) -> object:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        return [_scalar(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _scalar(value, field)


def _scalar(value: Any, field: Any) -> object:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if field.type == FieldDescriptor.TYPE_BYTES:  # the contract has bytes for packed IP addresses only
        return str(ip_address(value))
    return value
