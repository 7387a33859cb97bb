"""What `netplumb get -o yaml` or `-o json` printed, read back as the documents that it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MARK = b"observed_generation"
"""What every such text has, and no document of a state file."""


def documents(text: bytes) -> bytes:
    """The documents of what was printed; any other text as it is, for the daemon to judge."""
    if _MARK not in text:
        return text
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = list(YAML(typ="safe", pure=True).load_all(text))
    except YAMLError:
        return text
    things = [it for each in read for it in (each if isinstance(each, list) else [each])]
    if not all(map(_is_printed, things)):
        return text
    return "".join(f"---\n{json.dumps(it['document'], ensure_ascii=False)}\n" for it in things).encode()


def _is_printed(thing: Any) -> bool:
    return isinstance(thing, Mapping) and "observed_generation" in thing and isinstance(thing.get("document"), Mapping)
