"""Files judged as the daemon's file source judges them, without a daemon.

What depends on the node (its pools, its own addresses and ports, what others hold there) is not known here; for that
there is `netplumb plan -f`. What the files of one directory, taken together, want twice is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from netplumb.models.attachment import FILE_SOURCE_PREFIX, AttachmentKey, AttachmentSpec
from netplumb.models.errors import AlreadyHeld
from netplumb.models.networkpolicy import ManifestKey
from netplumb.reconciler.decide.claims import PortHolders
from netplumb.reconciler.desired.ipam import Allocator
from netplumb.reconciler.settings.documents import MAX_BYTES, Mistake
from netplumb.reconciler.sources import directory as directories
from netplumb.reconciler.sources.directory import FileContent, judged, unreadable

STDIN = Path("-")


def of_paths(paths: Iterable[Path], stdin: BinaryIO) -> list[FileContent]:
    """Files, whatever they are called, and the state files of directories; `-` is stdin. Each is named by its path, and
    those of one directory are judged together."""
    found: dict[Path, FileContent] = {}
    for path in paths:
        found |= {Path(it.name): it for it in _of_path(path, stdin)}
    together: defaultdict[Path, list[FileContent]] = defaultdict(list)
    for path in sorted(found):
        together[path.parent if path != STDIN else STDIN].append(found[path])
    for files in together.values():
        found |= {Path(it.name): it for it in _conflicts(files)}
    return list(found.values())


def _of_path(path: Path, stdin: BinaryIO) -> list[FileContent]:
    try:
        if path == STDIN:
            return [judged(str(path), stdin.read(MAX_BYTES + 1))]
        if path.is_dir():
            inside = directories.contents(path, {})
            return [replace(it, name=str(path / it.name)) for it in inside.values()]
        with path.open("rb") as file:
            return [judged(str(path), file.read(MAX_BYTES + 1))]
    except OSError as error:
        return [unreadable(str(path), str(error.strerror))]


def _conflicts(files: Iterable[FileContent]) -> list[FileContent]:
    """The files, and beside their mistakes what they want that one before them, or earlier in them, has already."""
    holders = _Holders()
    return [replace(it, mistakes=(*it.mistakes, *holders.take(it))) for it in files]


class _Holders:
    """What the files so far hold, by the rules by which desired state has it, and the kernel: of two attachments that
    want one interface the second would find the first's in its way."""

    def __init__(self) -> None:
        self._sources: dict[AttachmentKey, str] = {}
        self._interfaces: dict[tuple[str, str], AttachmentKey] = {}
        self._manifests: dict[ManifestKey, str] = {}
        self._ports = PortHolders()
        self._addresses = Allocator()

    def take(self, file: FileContent) -> Iterator[Mistake]:
        for declaration in file.declared.attachments:
            try:
                self._hold(declaration.spec, FILE_SOURCE_PREFIX + Path(file.name).name)
            except AlreadyHeld as error:
                yield Mistake(declaration.line, str(error))
        for it in file.declared.manifests:
            source = FILE_SOURCE_PREFIX + Path(file.name).name
            if (holder := self._manifests.setdefault(it.manifest.key, source)) != source:
                yield Mistake(it.line, f"{it.manifest.key} is held by {holder}")

    def _hold(self, spec: AttachmentSpec, source: str) -> None:
        if (holder := self._sources.get(spec.key)) is not None:
            raise AlreadyHeld(f"attachment {spec.key} is held by {holder}")
        place = (spec.netns.where, spec.if_name)
        if (other := self._interfaces.get(place)) is not None:
            raise AlreadyHeld(f"interface {spec.if_name} in {spec.netns.where} is that of attachment {other}")
        self._ports.check(spec.port_mappings, spec.key)
        for address in spec.addresses:
            self._addresses.check_static(address, spec.key)
        self._sources[spec.key] = source
        self._interfaces[place] = spec.key
        self._ports.hold(spec.port_mappings, spec.key)
        self._addresses.hold(spec.key, spec.addresses)
