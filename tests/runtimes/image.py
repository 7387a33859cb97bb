"""A container image made by hand: busybox and a web server that tells who asks.

It serves as sandbox image and as container: its one process keeps the pod alive, and answers on port 80 in both
families with the address that the request came from. Nothing is pulled from anywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
REFERENCE = "localhost/netplumb/web:1"
PORT = 80
WHO_ASKS = "/cgi-bin/who-asks"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_APPLETS = ("cat", "httpd", "ip", "sh", "sleep", "wget")
_SCRIPT = b"""#!/bin/sh
printf 'Content-Type: text/plain\\r\\nContent-Length: %s\\r\\n\\r\\n%s' "${#REMOTE_ADDR}" "$REMOTE_ADDR"
"""
_CONFIG = {"Entrypoint": ["/bin/httpd", "-f", "-p", str(PORT), "-h", "/www"], "Env": ["PATH=/bin"], "WorkingDir": "/"}
_MEDIA = "application/vnd.oci.image"


def write(
    path: Path,
    *,
    reference: str = REFERENCE,
    config: Mapping[str, object] = MappingProxyType(_CONFIG),
    applets: Sequence[str] = _APPLETS,
    directories: Sequence[str] = (),
) -> None:
    """Writes the image as a tar of an OCI image layout, which containerd imports and Podman loads."""
    layer = _layer(applets, directories)
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    blobs: dict[str, bytes] = {}

    def blob(kind: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{_MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    described = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "by hand"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": blob("config.v1+json", _json(described)),
        "layers": [blob("layer.v1.tar+gzip", packed)],
    }
    # containerd takes the name from the first annotation, Podman from the second.
    named = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "manifests": [blob("manifest.v1+json", _json(manifest)) | {"annotations": named}]}
    with tarfile.open(path, "w") as layout:
        _add(layout, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(layout, "index.json", _json(index))
        for name, content in blobs.items():
            _add(layout, name, content)


def _layer(applets: Sequence[str], directories: Sequence[str]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as layer:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp", "www", "www/cgi-bin", *directories):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        _add(layer, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
        _add(layer, f"www{WHO_ASKS}", _SCRIPT, mode=0o755)
        _add(layer, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        _add(layer, "etc/group", b"root:x:0:\n")
    return written.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
