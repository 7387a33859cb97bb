"""The JSON Schemas agree with the daemon's own reader, file by file.

A schema is shown what an editor shows it: what YAML 1.2, or JSON, makes of each document. Below `tests/corpus` are
files that both take, files that both refuse, and files of which a schema cannot say what the daemon says, with why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.protocols import Validator
from pydantic import BaseModel
from ruamel.yaml import YAML

from netplumb.models.attachment import NetnsRef
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.clustersettings import ClusterPool, ClusterSettings
from netplumb.models.labelselectors import LabelSelector, Requirement
from netplumb.models.network import Pool
from netplumb.models.networkpolicy import (
    EgressRule,
    IngressRule,
    IPBlock,
    NamespaceMetadata,
    Peer,
    PolicyMetadata,
    PolicyPort,
    PolicySpec,
)
from netplumb.models.ports import PortMapping
from netplumb.models.routing import Dns, ExtraRoute
from netplumb.models.schemas import DOCUMENTS, schema
from netplumb.models.settings import Settings
from netplumb.models.statefile import KINDS
from netplumb.reconciler.settings import configuration
from netplumb.reconciler.sources.statefile import StateFileError, parse

REPOSITORY = Path(__file__).parents[3]
CORPUS = REPOSITORY / "tests" / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*.*") if path.suffix in (".yaml", ".json"))
BY_BOTH, BY_NONE = "invalid", "valid"
BY_DAEMON, BY_SCHEMA = "refused-by-the-daemon-alone", "refused-by-the-schema-alone"
NESTED: dict[str, tuple[type[BaseModel], ...]] = {
    "attachment": (NetnsRef, Bandwidth, Dns, ExtraRoute, PortMapping),
    "settings": (Pool, ClusterSettings, ClusterPool),
    "networkpolicy": (
        *(PolicyMetadata, PolicySpec, LabelSelector, Requirement),
        *(IngressRule, EgressRule, Peer, IPBlock, PolicyPort),
    ),
    "namespace": (NamespaceMetadata,),
}


def validator(name: str) -> Validator:
    return Draft7Validator(schema(name), format_checker=Draft7Validator.FORMAT_CHECKER)


def documents(path: Path) -> Iterator[Any]:
    """As an editor sees them; those without content are none."""
    if path.suffix == ".json":
        yield json.loads(path.read_text())
        return
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    for document in yaml.load_all("".join(c for c in path.read_text() if c.isprintable() or c == "\n")):
        if document is not None:
            yield _with_text_keys(document)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(it) for key, it in value.items()}
    return [_with_text_keys(it) for it in value] if isinstance(value, list) else value


def refused_by_schema(name: str, path: Path) -> bool:
    judge = validator(name)
    return not all(judge.is_valid(document) for document in documents(path))


def refused_by_daemon(name: str, path: Path) -> bool:
    try:
        if name == "settings":
            configuration.load({}, path, {})
        else:
            parse(path.name, path.read_bytes())
    except (StateFileError, configuration.ConfigurationError):
        return True
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_schema_and_daemon_judge_a_file_as_its_place_says(path: Path) -> None:
    name, verdict = path.parent.parent.name, path.parent.name
    assert refused_by_daemon(name, path) == (verdict in (BY_BOTH, BY_DAEMON))
    assert refused_by_schema(name, path) == (verdict in (BY_BOTH, BY_SCHEMA))
    if verdict in (BY_DAEMON, BY_SCHEMA):
        assert path.read_text().startswith("# "), "why a schema cannot say it"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_is_in_a_file_that_is_taken_and_in_one_that_is_refused(name: str) -> None:
    """A new field, or a new kind of document, joins the corpus."""
    for verdict in (BY_NONE, BY_BOTH):
        seen = {key for path in (CORPUS / name / verdict).iterdir() for key in _keys(list(documents(path)))}
        for model in (DOCUMENTS[name], *NESTED.get(name, ())):
            assert {it.alias or name for name, it in model.model_fields.items()} <= seen, verdict


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)


def test_there_is_a_schema_for_the_settings_and_for_each_kind() -> None:
    assert {"settings": Settings, **{kind.lower(): model for kind, model in KINDS.items()}} == DOCUMENTS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_one_by_its_own_schema(name: str) -> None:
    it = schema(name)
    assert it["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(it)
    assert "$defs" not in json.dumps(it)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_field_is_described_and_each_default_is_taken(name: str) -> None:
    it = schema(name)
    for part in (it, *it["definitions"].values()):
        for field, words in part.get("properties", {}).items():
            assert words.get("description"), field
            if "default" in words:
                judge = Draft7Validator(words | {"definitions": it["definitions"]})
                assert judge.is_valid(words["default"]), field


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config" / "examples").rglob("*.yaml")), ids=lambda it: it.name)
def test_the_examples_are_taken(path: Path) -> None:
    assert not refused_by_schema("attachment", path)


def test_the_example_of_the_settings_is_taken() -> None:
    assert not refused_by_schema("settings", REPOSITORY / "config" / "netplumb.yaml")
