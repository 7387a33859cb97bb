"""What a network's configuration says and netplumb does not know. A mistyped capability would change nothing, silently;
and an ADD must not fail for it, since configurations are also written for runtimes and plugins that know more.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import structlog

from netplumb.api.cni.config import RuntimeConfig
from netplumb.api.text import printable
from netplumb.models.attachment import CNI_SOURCE_PREFIX
from netplumb.models.spelling import unknown
from netplumb.models.status import Condition

CAPABILITIES = tuple(field.alias or name for name, field in RuntimeConfig.model_fields.items())
KEYS = ("pool", "mtu", "default_route", "allow_foreign_address")
"""Netplumb's own. Of others, a configuration may hold any, for whom they concern."""
_TOLD = 10
_NETWORKS_MAX = 100
_WORD_CHARS = 100

log = structlog.get_logger(__name__)


def unknowns(config: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, each capability that is declared or passed, and each key that is nearly one of ours."""
    declared, passed = config.get("capabilities"), config.get("runtimeConfig")
    names = {name: None for name, wanted in declared.items() if wanted} if isinstance(declared, dict) else {}
    names |= dict.fromkeys(passed) if isinstance(passed, dict) else {}
    told = [f"capability {_word(it)} {unknown(_word(it), CAPABILITIES)}" for it in names if it not in CAPABILITIES]
    told += [f"{_word(key)} is unknown; did you mean {meant}?" for key, meant in _misspelt(config)]
    return tuple(told[:_TOLD])


class Unknowns:
    """What is unknown in the configuration of each network, by its last ADD or CHECK."""

    def __init__(self) -> None:
        self._told: dict[str, Condition] = {}

    def take(self, network: str, words: Collection[str]) -> None:
        message = f"network {network}: {'; '.join(words)}" if words else ""
        known = self._told.get(network)
        if message == (known.message if known else ""):
            return
        if not words:
            del self._told[network]
        elif known is not None or len(self._told) < _NETWORKS_MAX:
            since = known.last_transition if known else time.time()
            self._told[network] = Condition("ConfigurationUnknown", True, "NotUsed", message, since)
            log.warning("a network's configuration says what netplumb does not know", network=network, words=words)

    def conditions(self, sources: Collection[str]) -> tuple[Condition, ...]:
        """Those of networks that are among the sources: one that nobody uses any more is nobody's concern."""
        return tuple(it for network, it in sorted(self._told.items()) if CNI_SOURCE_PREFIX + network in sources)


def _misspelt(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    plain = {key.replace("_", ""): key for key in KEYS}
    plain |= {f"{it}s": key for it, key in plain.items()}
    for key in config:
        meant = plain.get(key.lower().replace("_", "").replace("-", ""))
        if meant is not None and key not in KEYS:
            yield key, meant


def _word(name: str) -> str:
    return printable(name[:_WORD_CHARS])
