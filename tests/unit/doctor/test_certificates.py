"""For how long a certificate is valid, read from its file."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.doctor.reading.certificates import validities
from tests.e2e.certificates import Authority

DAY_S = 24 * 3600.0


def test_each_certificate_of_a_file_is_read(tmp_path: Path) -> None:
    """As openssl wrote them: one that ran out, with the time in either form, and its authority behind it."""
    authority = Authority(tmp_path).founded()
    valid, _ = authority.issued("valid")
    expired, _ = authority.issued("expired", expired=True)
    chain = tmp_path / "chain.crt"
    chain.write_text("a comment\n" + "".join(it.read_text() for it in (expired, valid, authority.certificate)))
    (begin, end), *others = validities(chain)
    assert (time.gmtime(end)[:3], begin < end) == ((2020, 1, 2), True)
    for begin, end in others:
        assert abs(begin - time.time()) < DAY_S
        assert abs(end - time.time() - 2 * DAY_S) < DAY_S


@pytest.mark.parametrize("content", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "it.crt"
    file.write_text(content)
    with pytest.raises(ValueError, match="certificate"):
        validities(file)


@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_a_mistake(tmp_path_factory: pytest.TempPathFactory, der: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "it.crt"
    file.write_text(ssl.DER_cert_to_PEM_cert(der))
    with pytest.raises(ValueError, match="a certificate that cannot be read"):
        validities(file)
