"""The settings in force, and where each came from: defaults, then a YAML file, then the environment, then flags.

Used at start, by `netplumb config show`, and again at every SIGHUP. All mistakes are found at once; a mistake is one
line that names the file and line, the variable or the flag that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from netplumb.models.errors import NetplumbError
from netplumb.models.settings import Settings
from netplumb.reconciler.settings import documents
from netplumb.reconciler.settings.mistakes import Wrong, wrongs
from netplumb.reconciler.settings.variables import VARIABLE_PREFIX

DEFAULT_CONFIG = Path("/etc/netplumb/netplumb.yaml")
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
    file = config or DEFAULT_CONFIG
    document, refused = _document(file, required=config is not None)
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
        lines = {_line(wrong, given, file, document): None for wrong in wrongs(error, Settings, data)}
        raise ConfigurationError([*refused, *lines]) from None
    if refused:
        raise ConfigurationError(refused)
    origins = {name: given[name].origin if name in given else DEFAULT_ORIGIN for name in Settings.model_fields}
    return Configuration(settings, origins)


def _document(file: Path, *, required: bool) -> tuple[documents.Document, list[str]]:
    """What the file says, or an empty document and why it is refused as a whole."""
    nothing = documents.Document(0)
    try:
        with file.open("rb") as opened:
            reading = documents.read(opened.read(documents.MAX_BYTES + 1))
    except OSError as error:
        absent = isinstance(error, FileNotFoundError) and not required
        return nothing, [] if absent else [f"{file}: {error.strerror}"]
    mistakes = reading.mistakes
    if not mistakes and len(reading.documents) > 1:
        mistakes = [documents.Mistake(reading.documents[1].line, "a second document; settings are a single one")]
    if not mistakes and reading.documents and not isinstance(reading.documents[0].data, dict):
        mistakes = [documents.Mistake(reading.documents[0].line, "must be a mapping of settings")]
    if mistakes:
        return nothing, [mistake.located(str(file)) for mistake in mistakes]
    return (reading.documents[0] if reading.documents else nothing), []


def _of_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    """What variables say. An empty one counts as not set; of unknown ones `variables.mistyped` tells."""
    for name in Settings.model_fields:
        variable = VARIABLE_PREFIX + name.upper()
        if text := environ.get(variable):
            yield name, _Given([part.strip() for part in text.split(",")] if name == "pools" else text, variable)


def _flag(name: str, value: object) -> str:
    words = "pool" if name == "pools" else name.replace("_", "-")
    return f"--no-{words}" if value is False else f"--{words}"


def _line(wrong: Wrong, given: Mapping[str, _Given], file: Path, document: documents.Document) -> str:
    # Without a path it is the mapping that is wrong, by a key that is no text; only the file can hold one.
    if wrong.path and (it := given[str(wrong.path[0])]).names_setting:
        return f"{it.origin}: {wrong.reason}"
    return documents.Mistake(document.line_of(wrong.path), str(wrong)).located(str(file))
