"""What JSON Schema can say of a value as people write it, for the models to put beside their validators.

An editor sees what YAML makes of a value: a number, true, text. The daemon reads text throughout, to which the model
gives its type. So text may also be a number there (a label's `1.10`), and a number text (`"1500"`).

The patterns mean the same in Python and in ECMAScript, but for a line break at the end, which Python's `$` lets pass. A
corpus of files in the tests holds schemas and validators
together, and names what no schema can say.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

INTEGER_TEXT = r"^\s*[+-]?[0-9]+(_[0-9]+)*(\.0+)?\s*$"
NUMBER_TEXT = r"^\s*[+-]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_TRUE_TEXT = r"^([tT]([rR][uU][eE])?|[yY]([eE][sS])?|[oO][nN]|1)$"
_FALSE_TEXT = r"^([fF]([aA][lL][sS][eE])?|[nN][oO]?|[oO][fF][fF]|0)$"
_PRINTABLE = r"[^\u0000-\u001f\u007f-\u009f]*"

TRUE: Schema = {"anyOf": [{"enum": [True, 1]}, {"type": "string", "pattern": _TRUE_TEXT}]}
FALSE: Schema = {"anyOf": [{"enum": [False, 0]}, {"type": "string", "pattern": _FALSE_TEXT}]}
BOOLEAN: Schema = {
    "type": ["boolean", "string", "integer"],
    "pattern": f"{_TRUE_TEXT}|{_FALSE_TEXT}",
    "minimum": 0,
    "maximum": 1,
}
INTEGER: Schema = {"type": ["integer", "string"], "pattern": INTEGER_TEXT}
NUMBER: Schema = {"type": ["number", "string"], "pattern": NUMBER_TEXT}
TEXT: Schema = {"type": ["string", "number", "boolean"]}
PRINTABLE: Schema = TEXT | {"pattern": f"^{_PRINTABLE}$"}

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
V4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
V6 = r"(?=[0-9a-fA-F:.]*::|([0-9a-fA-F]{1,4}:){6})[0-9a-fA-F:.]+"
_NOT_FOR_WORKLOADS_V4 = r"(?!127\.|169\.254\.|22[4-9]\.|23[0-9]\.)"
_NOT_FOR_WORKLOADS_V6 = r"(?![fF][fF][0-9a-fA-F]{2}:|[fF][eE][89aAbB][0-9a-fA-F]:)"
_NOT_LOOPBACK_V6 = r"(?![0:.]*1?(/|$))"
_NOT_MAPPED_V6 = rf"(?!(0{{0,4}}:)+[fF]{{4}}:([0-9a-fA-F]{{1,4}}:[0-9a-fA-F]{{1,4}}|{V4})$)"
_MASK_V4 = r"[0-9]+(\.[0-9]+){3}"
_NO_HOST_BITS_V4 = (
    r"(?!.*\.[1-9][0-9]*/0*([0-9]|1[0-9]|2[0-4])$)(?!.*\.[1-9][0-9]*\.[0-9]+/0*([0-9]|1[0-6])$)"
    r"(?![0-9]+\.[1-9][0-9.]*/0*[0-8]$)"
)
_NO_HOST_BITS_V6 = r"(?!.*:0*[1-9a-fA-F][0-9a-fA-F]*/0*([0-9]|[1-9][0-9]|10[0-9]|11[0-2])$)"
"""In the parts of an address that lie wholly behind the prefix. Those within a part would take hundreds of numbers."""

ADDRESS: Schema = {
    "type": "string",
    "anyOf": [{"format": "ipv4", "pattern": f"^{V4}$"}, {"format": "ipv6", "pattern": f"^{V6}$"}],
}
WORKLOAD_ADDRESS: Schema = {
    "type": "string",
    "anyOf": [
        {"format": "ipv4", "pattern": rf"^(?!0\.|24[0-9]\.|25[0-5]\.){_NOT_FOR_WORKLOADS_V4}{V4}$"},
        {"format": "ipv6", "pattern": f"^{_NOT_FOR_WORKLOADS_V6}{_NOT_LOOPBACK_V6}{_NOT_MAPPED_V6}{V6}$"},
    ],
}
NODE_ADDRESS: Schema = {
    "type": "string",
    "anyOf": [
        {"format": "ipv4", "pattern": rf"^(?!22[4-9]\.|2[3-5][0-9]\.){V4}$"},
        {"format": "ipv6", "pattern": f"^(?![fF][fF][0-9a-fA-F]{{2}}:){_NOT_MAPPED_V6}{V6}$"},
    ],
}
NAME_SERVER: Schema = {
    "type": "string",
    "anyOf": [
        {"format": "ipv4", "pattern": f"^{V4}$"},
        {"format": "ipv6", "pattern": f"^{V6}$"},
        {"pattern": f"^{V6}%[A-Za-z0-9_.-]{{1,15}}$"},
    ],
}
DESTINATION: Schema = {
    "type": "string",
    "anyOf": [
        {"pattern": rf"^{_NOT_FOR_WORKLOADS_V4}{_NO_HOST_BITS_V4}{V4}(/(0*([1-9]|[12][0-9]|3[0-2])|{_MASK_V4}))?$"},
        {
            "pattern": rf"^{_NOT_FOR_WORKLOADS_V6}{_NOT_LOOPBACK_V6}{_NO_HOST_BITS_V6}{V6}"
            r"(/0*([1-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?$"
        },
    ],
}
POOL_PREFIX: Schema = {
    "type": "string",
    "anyOf": [
        {"pattern": rf"^{_NOT_FOR_WORKLOADS_V4}{_NO_HOST_BITS_V4}{V4}/(0*([0-9]|[12][0-9]|30)|{_MASK_V4})$"},
        {"pattern": f"^{_NOT_FOR_WORKLOADS_V6}{_NO_HOST_BITS_V6}{V6}/0*([0-9]|[1-9][0-9]|1[01][0-9]|12[0-6])$"},
    ],
}

_PORT = r"0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
PORT: Schema = {"type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": rf"^\s*{_PORT}\s*$"}
PORTS: Schema = PORT | {"pattern": rf"^\s*{_PORT}\s*(-\s*{_PORT}\s*)?$"}
_PROTOCOLS = "[tT][cC][pP]|[uU][dD][pP]|[sS][cC][tT][pP]"
PORT_MAPPING: Schema = {
    "type": "string",
    "pattern": rf"^((\[{V6}\]|({V4})?):)?{_PORT}(-{_PORT})?:{_PORT}(-{_PORT})?(/({_PROTOCOLS}))?$",
    "examples": ["8080:80", "8000-8010:9000-9010/udp", "127.0.0.1:8080:80"],
}

TCP_ADDRESS: Schema = {
    "type": "string",
    "pattern": rf"^({V4}|\[{V6}\]):{_PORT}$",
    "maxLength": 64,
    "examples": ["127.0.0.1:9479"],
}
LISTEN_ADDRESS: Schema = {
    "type": "string",
    "pattern": rf"^(({V4}|\[{V6}\]):{_PORT}|unix:/{_PRINTABLE})$",
    "maxLength": 108,
    "examples": ["127.0.0.1:9478", "unix:/run/netplumb/metrics.sock"],
}

_HOST = rf"(\[{V6}\]|[A-Za-z0-9]([A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?)"
_ENDPOINT = rf"https?://{_HOST}:{_PORT}/?"
ENDPOINT: Schema = {"type": "string", "pattern": f"^{_ENDPOINT}$", "examples": ["https://192.0.2.1:2379"]}
ENDPOINTS: Schema = {"type": "string", "pattern": rf"^\s*{_ENDPOINT}\s*(,\s*{_ENDPOINT}\s*)*,?\s*$"}
KEY_PREFIX: Schema = {"type": "string", "pattern": r"^(/[A-Za-z0-9._-]+)+$", "maxLength": 200}

_BITS_TEXT = r"^[0-9]{1,20}(\.[0-9]{1,9})?\s*[kKMGT]?(bit)?$"
_NO_BITS: Schema = {
    "anyOf": [
        {"type": "number", "exclusiveMaximum": 1},
        {"type": "string", "pattern": r"^0+(\.([0-9]+\s*(bit)?|0+\s*[kKMGT](bit)?)|\s*[kKMGT]?(bit)?)$"},
    ]
}

ABSOLUTE_PATH: Schema = {"type": "string", "pattern": f"^(/{_PRINTABLE})?$", "maxLength": 4095}
MAC: Schema = {
    "type": "string",
    "pattern": r"^(?!00([:-]00){5}$)([0-9a-fA-F][02468aceACE]([:-][0-9a-fA-F]{2}){5})?$",
}
FIRST_HOP: Schema = {"type": "string", "pattern": rf"^(169\.254\.77\.1|(?={V6}$)[fF][eE]80:[0:]*1)$"}
MODE: Schema = {"type": ["string", "integer"], "pattern": "^(0o)?0?[0-7]{3}$", "minimum": 0, "maximum": 777}
_PRINTED = r"[^\s\u0000-\u001f\u007f-\u009f]"
SYSCTL_VALUE: Schema = TEXT | {
    "pattern": rf"^\s*{_PRINTED}([^\u0000-\u0008\u000a-\u001f\u007f-\u009f]{{0,254}}{_PRINTED})?\s*$"
}
WORD: Schema = TEXT | {"pattern": f"^{_PRINTED}+$", "minLength": 1, "maxLength": 253}
LIST_IN_TEXT: Schema = TEXT | {"pattern": r"^\s*[^,]{0,253}(,\s*[^,]{0,253})*$"}
SYSCTL: Schema = {
    "type": "string",
    "pattern": r"^(?!.*/\.{1,2}(/|$))net((/[A-Za-z0-9_:.@-]+)+|(\.[A-Za-z0-9_:@-]+)+)$",
}
PATH_OR_NAME: Schema = {
    "oneOf": [
        {
            "required": ["path"],
            "properties": {"path": {"minLength": 1}, "name": {"enum": [""]}, "create": FALSE},
        },
        {
            "required": ["name"],
            "properties": {"name": {"not": {"enum": [""]}}, "path": {"enum": [""]}},
        },
    ]
}


def _wants(burst: str, rate: str) -> Schema:
    """A burst of something is refused without a rate."""
    return {
        "if": {"required": [burst], "properties": {burst: {"not": _NO_BITS}}},
        "then": {"required": [rate], "properties": {rate: {"not": _NO_BITS}}},
    }


BURSTS_WITH_RATES: Schema = {"allOf": [_wants(f"{way}_burst", f"{way}_rate") for way in ("ingress", "egress")]}


def if_name(most: int) -> Schema:
    return TEXT | {
        "pattern": r"^(?!(\.|\.\.|lo|all|default)$)[^/:%\s\u0000-\u001f\u007f-\u009f]+$",
        "minLength": 1,
        "maxLength": most,
    }


def text(pattern: str) -> Schema:
    """Text that matches, which a number's may do too where it begins with no sign."""
    return TEXT | {"pattern": pattern, "minimum": 0}


def printable_text(least: int, most: int) -> Schema:
    return PRINTABLE | {"minLength": least, "maxLength": most}


def bits(least: int = 0, most: int | None = None) -> Schema:
    """A number, or as 100M; or nothing, which 0 says."""
    number: Schema = {"type": "number", "minimum": least} | ({"maximum": most} if most else {})
    none: list[Schema] = [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}] if least else []
    return {"anyOf": [*none, number, {"type": "string", "pattern": _BITS_TEXT}], "examples": ["100M"]}


def zero_or(least: int, most: int) -> Schema:
    return {
        "anyOf": [{"enum": [0]}, {"type": "integer", "minimum": least, "maximum": most}, INTEGER | {"type": "string"}]
    }
