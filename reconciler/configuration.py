"""The settings in force, and where each came from: defaults, then a YAML file, then the environment, then flags.

Used at start, by `netplumb config show`, and again at every SIGHUP. All mistakes are found at once; a mistake is one
line that names the file and line, the variable or the flag that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.errors import NetplumbError
from models.settings import Settings
from reconciler import documents
from reconciler.mistakes import Wrong, wrongs

DEFAULT_CONFIG = Path("/etc/netplumb/netplumb.yaml")
VARIABLE_PREFIX = "NETPLUMB_"
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and for each its origin: `default`, `path:line`, `NETPLUMB_…` or `--flag`."""

    settings: Settings
    origins: Mapping[str, str]


class ConfigurationError(NetplumbError):
    """The settings are wrong; `lines` holds a clear line for each mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given. `names_setting` says whether the origin already tells which setting is meant."""

    value: object
    origin: str
    names_setting: bool = True


def load(flags: Mapping[str, object], config: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Reads and validates the settings, or raises ConfigurationError.

    `flags` holds the settings given on the command line by name. `config` names a file that must be there; without
    it, the default file is read if it is there.
    """
    document = _document(config)
    file = config or DEFAULT_CONFIG
    given = {}
    if isinstance(document.data, dict):
        for name, value in document.data.items():
            given[name] = _Given(value, f"{file}:{document.line_of((name,))}", names_setting=False)
    given |= dict(_of_environment(environ))
    given |= {name: _Given(value, _flag(name, value)) for name, value in flags.items()}

    data = {name: it.value for name, it in given.items()}
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found = list(wrongs(error, Settings, data))
        lines = {_line(wrong, given, file, document): None for wrong in found}
        raise ConfigurationError(list(lines)) from None
    origins = {name: given[name].origin if name in given else DEFAULT_ORIGIN for name in Settings.model_fields}
    return Configuration(settings, origins)


def _document(config: Path | None) -> documents.Document:
    file = config or DEFAULT_CONFIG
    try:
        reading = documents.read(file.read_bytes())
    except FileNotFoundError as error:
        if config is None:
            return documents.Document(0)
        raise ConfigurationError([f"{file}: {error.strerror}"]) from None
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}"]) from None
    mistakes = reading.mistakes
    if not mistakes and len(reading.documents) > 1:
        mistakes = [documents.Mistake(reading.documents[1].line, "a second document; settings are a single one")]
    if not mistakes and reading.documents and not isinstance(reading.documents[0].data, dict):
        mistakes = [documents.Mistake(reading.documents[0].line, "must be a mapping of settings")]
    if mistakes:
        raise ConfigurationError([mistake.located(str(file)) for mistake in mistakes])
    return reading.documents[0] if reading.documents else documents.Document(0)


def _of_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    """What variables say. An empty one counts as not set.

    Unknown ones are let be: Kubernetes puts NETPLUMB_PORT and the like into every pod beside a service of that name.
    """
    for name in Settings.model_fields:
        variable = VARIABLE_PREFIX + name.upper()
        if text := environ.get(variable):
            yield name, _Given([part.strip() for part in text.split(",")] if name == "pools" else text, variable)


def _flag(name: str, value: object) -> str:
    words = "pool" if name == "pools" else name.replace("_", "-")
    return f"--no-{words}" if value is False else f"--{words}"


def _line(wrong: Wrong, given: Mapping[str, _Given], file: Path, document: documents.Document) -> str:
    it = given[str(wrong.path[0])]
    if it.names_setting:
        return f"{it.origin}: {wrong.reason}"
    return documents.Mistake(document.line_of(wrong.path), str(wrong)).located(str(file))
