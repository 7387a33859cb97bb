"""PURE: variables of the environment that look like ours and are not: a mistyped one would change nothing, silently.

They are told and not refused, since the environment is also others' place. Of the names that Kubernetes puts into every
pod beside a service (`NETPLUMB_SERVICE_HOST`, `NETPLUMB_PORT_50051_TCP_ADDR`) nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

VARIABLE_PREFIX = "NETPLUMB_"
_OF_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z")
_NEARLY = 0.8


def suspects(environ: Mapping[str, str]) -> list[str]:
    """Those that are set and begin as ours do, or nearly so. Cheap: what settings there are need not be known."""
    return [name for name, value in environ.items() if value and _begins_nearly(name)]


def mistyped(environ: Mapping[str, str], settings: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each variable that means no setting, and what to say of it."""
    known = {name.upper(): f"{VARIABLE_PREFIX}{name.upper()}" for name in settings}
    for name in sorted(suspects(environ)):
        if name in known.values() or _OF_KUBERNETES.match(name):
            continue
        close = get_close_matches(name.partition("_")[2].upper(), known, n=1)
        if close:
            yield name, f"is unknown; did you mean {known[close[0]]}?"
        elif name.startswith(VARIABLE_PREFIX):
            yield name, "is unknown"


def _begins_nearly(name: str) -> bool:
    first, underscore, _ = name.upper().partition("_")
    return bool(underscore and get_close_matches(first, [VARIABLE_PREFIX.rstrip("_")], cutoff=_NEARLY))
