"""Certificates as an operator makes them, by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """One that signs, and the directory that it keeps its files in."""

    place: Path
    name: str = "ca"

    @property
    def certificate(self) -> Path:
        return self.place / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        return self.place / f"{self.name}.key"

    def founded(self) -> Authority:
        self.place.mkdir(parents=True, exist_ok=True)
        _openssl(
            *("req", "-x509", *CURVE, "-keyout", str(self.key), "-out", str(self.certificate), "-days", "2"),
            *("-subj", f"/CN={self.name}", "-addext", "basicConstraints=critical,CA:TRUE"),
        )
        return self

    def issued(
        self, name: str, *, common: str = "", alternative: str = "", expired: bool = False, lasting_s: float = 0
    ) -> tuple[Path, Path]:
        """A certificate and its key; the common name is the name of the files unless it is another. It is valid for two
        days, or for as long as is said."""
        certificate, key, request = (self.place / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        extension = ("-addext", f"subjectAltName={alternative}") if alternative else ()
        subject = f"/CN={common or name}"
        _openssl("req", *CURVE, "-keyout", str(key), "-out", str(request), "-subj", subject, *extension)
        signed = ("-CA", str(self.certificate), "-CAkey", str(self.key), "-copy_extensions", "copyall")
        if expired or lasting_s:
            end = datetime.now(UTC) + timedelta(seconds=lasting_s)
            self._dated(request, certificate, "20200102000000Z" if expired else end.strftime("%Y%m%d%H%M%SZ"))
        else:
            _openssl("x509", "-req", "-in", str(request), "-out", str(certificate), *signed, "-days", "2")
        return certificate, key

    def _dated(self, request: Path, certificate: Path, end: str) -> None:
        """By `openssl ca`, which alone takes dates, before OpenSSL 3.4."""
        config = self.place / "ca.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={self.place}/index.txt\nserial={self.place}/serial\n"
            f"new_certs_dir={self.place}\ndefault_md=sha256\npolicy=any\ncopy_extensions=copy\n"
            "unique_subject=no\n[any]\ncommonName=supplied\n"
        )
        (self.place / "index.txt").touch()
        _openssl(
            *("ca", "-batch", "-config", str(config), "-create_serial", "-in", str(request), "-out", str(certificate)),
            *("-cert", str(self.certificate), "-keyfile", str(self.key), "-notext"),
            *("-startdate", "20200101000000Z", "-enddate", end),
        )


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
