"""An etcd with certificates and rights: a node may write below its own name alone, and is told what it may not do."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.status import AttachmentStatus, AttachmentView, Change, Phase, WatchEvent
from tests.cluster.etcds import Etcd, Secured, running
from tests.cluster.members import V4, Node
from tests.e2e.certificates import Authority
from tests.e2e.waiting import until

LONG_S = 30.0
LASTING_S = 8.0
PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def role_commands(name: str) -> Iterator[list[str]]:
    """What the page says to type for a node of this name."""
    for line in PAGE.read_text().splitlines():
        if line.startswith(("$ etcdctl role ", "$ etcdctl user ")):
            yield line.removeprefix("$ etcdctl ").replace("node-a", name).split()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki").founded()


def secured(authority: Authority, name: str, *, expired: bool = False, lasting_s: float = 0) -> Secured:
    cert, key = authority.issued(name, alternative="IP:127.0.0.1", expired=expired, lasting_s=lasting_s)
    return Secured(authority.certificate, cert, key)


@pytest.fixture
def guarded(authority: Authority) -> Iterator[Etcd]:
    """With rights for the nodes a and b, who are known by their certificates."""
    with running(secured=secured(authority, "root")) as etcd:
        for words in ("user add root --no-password", "user grant-role root root"):
            etcd.ctl(*words.split())
        for name in ("a", "b"):
            for command in role_commands(name):
                etcd.ctl(*command)
        etcd.ctl("auth", "enable")
        yield etcd


def node(etcd: Etcd, place: Path, name: str, files: Secured, **settings: object) -> Node:
    named = {"ca": files.ca, "cert": files.cert, "key": files.key, **settings}
    return Node(etcd.settings(pools=[V4], **named), name, place)


def as_node(etcd: Etcd, files: Secured, *words: str) -> str:
    """What etcdctl says to who has these files; empty where it is done."""
    flags = [f"--endpoints={etcd.endpoints[0]}", f"--cacert={files.ca}", f"--cert={files.cert}", f"--key={files.key}"]
    environ = {**os.environ, "ETCDCTL_API": "3"}
    done = subprocess.run(["etcdctl", *flags, *words], capture_output=True, text=True, env=environ, check=False)
    return done.stderr if done.returncode else ""


async def test_a_node_needs_no_more_than_its_role(guarded: Etcd, authority: Authority, tmp_path: Path) -> None:
    """Two nodes join, see each other and take prefixes; what is another's neither can write or take away."""
    files = {name: secured(authority, name) for name in ("a", "b")}
    a, b = (node(guarded, tmp_path, name, files[name]).start() for name in ("a", "b"))
    try:
        await until(lambda: a.is_well and b.is_well, "both are well", within_s=LONG_S)
        await until(lambda: "b" in a.view.peers and a.view.peers["b"].present, "a sees b")
        theirs = [key for key in guarded.key_names() if re.search(r"/b(/|$)", key)]
        assert len(theirs) == 3
        for key in (*theirs, "/netplumb/shared/accepted/x", "/netplumb/nodes/a/attachments/x", "/elsewhere"):
            assert "permission denied" in as_node(guarded, files["a"], "put", key, "x"), key
            assert "permission denied" in as_node(guarded, files["a"], "del", key), key
        assert "permission denied" in as_node(guarded, files["a"], "get", "--prefix", "/netplumb/nodes/b/")
    finally:
        await a.stop()
        await b.stop()


async def test_a_user_with_a_password_is_let_in_and_stays_in(
    guarded: Etcd, authority: Authority, tmp_path: Path
) -> None:
    """The token is asked for anew when etcd has forgotten it, as after its restart."""
    for words in ("user delete a", "user add a:secret", "user grant-role a a"):
        guarded.ctl(*words.split())
    password = tmp_path / "password"
    password.write_text("secret\n")
    a = node(guarded, tmp_path, "a", secured(authority, "b"), user="a", password_file=password).start()
    try:
        await until(lambda: a.is_well, "it is well", within_s=LONG_S)
        guarded.kill()
        await until(lambda: "EtcdAway" in a.conditions, "etcd is away", within_s=LONG_S)
        guarded.start()
        await until(lambda: a.is_well, "it is well again", within_s=LONG_S)
    finally:
        await a.stop()


async def test_a_node_without_rights_is_told_so(guarded: Etcd, authority: Authority, tmp_path: Path) -> None:
    """The certificate is another node's: nothing of its is written, and a condition tells."""
    a = node(guarded, tmp_path, "c", secured(authority, "a")).start()
    try:
        await until(lambda: "EtcdRefuses" in a.conditions, "it is told", within_s=LONG_S)
        assert "permission denied" in a.conditions["EtcdRefuses"].message
        assert a.prefixes == []
    finally:
        await a.stop()


async def test_an_expired_certificate_is_told_and_a_renewed_one_taken(
    guarded: Etcd, authority: Authority, tmp_path: Path
) -> None:
    files = secured(authority, "a", expired=True)
    a = node(guarded, tmp_path, "a", files).start()
    try:
        await until(lambda: "EtcdAway" in a.conditions, "etcd is away")
        assert a.prefixes == []
        assert secured(authority, "a") == files, "in the same files"
        await until(lambda: a.is_well, "it is well", within_s=LONG_S)
    finally:
        await a.stop()


@pytest.mark.parametrize("whose", ["node", "etcd"])
async def test_a_certificate_that_expires_while_it_is_used_is_told_once_it_matters(
    authority: Authority, tmp_path: Path, whose: str
) -> None:
    """A connection outlives it, and etcd is followed; the next one is refused, which is told, while all that is known
    holds. A renewed one, in the same files, heals it without a restart of netplumb."""
    lasting = {name: LASTING_S if name == whose else 0 for name in ("node", "etcd")}
    files = secured(authority, "a", lasting_s=lasting["node"])
    with running(secured=secured(authority, "root", lasting_s=lasting["etcd"])) as etcd:
        a = node(etcd, tmp_path, "a", files).start()
        try:
            await until(lambda: a.is_well, "it is well", within_s=LONG_S)
            prefixes, view = a.prefixes, a.view
            await asyncio.sleep(LASTING_S + 1)
            assert a.is_well, "the connection outlives the certificate"
            etcd.kill()
            etcd.members[0].start(etcd.members)
            await until(lambda: "EtcdAway" in a.conditions, "etcd is away", within_s=LONG_S)
            await asyncio.sleep(2)
            assert "EtcdAway" in a.conditions
            assert (a.prefixes, a.view) == (prefixes, view)
            etcd.kill()
            assert secured(authority, "a") == files, "in the same files"
            assert secured(authority, "root") == etcd.secured
            etcd.start()
            await until(lambda: a.is_well, "it is well again", within_s=LONG_S)
            assert a.prefixes == prefixes
        finally:
            await a.stop()


async def test_a_certificate_that_is_missing_is_named(guarded: Etcd, authority: Authority, tmp_path: Path) -> None:
    files = secured(authority, "a")
    files.cert.unlink()
    a = node(guarded, tmp_path, "a", files).start()
    try:
        await until(lambda: "EtcdRefuses" in a.conditions, "it is told")
        assert str(files.cert) in a.conditions["EtcdRefuses"].message
    finally:
        await a.stop()


def spoil(file: Path, content: str, another: Secured) -> bytes:
    """Returns what it was before."""
    good = file.read_bytes()
    match content:
        case "of another":
            file.write_bytes(another.key.read_bytes())
        case "locked":
            words = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", str(file), "-out", str(file)]
            subprocess.run(words, check=True, capture_output=True)
        case _:
            file.write_text(content)
    return good


@pytest.mark.parametrize(
    ("setting", "content", "told"),
    [
        ("ca", "", "holds no certificate in PEM"),
        ("cert", "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n", "holds no certificate in PEM"),
        ("key", "rubbish", "holds no key in PEM"),
        ("key", "of another", "is not the key of the certificate in "),
        ("key", "locked", "holds no key in PEM that can be read without a password"),
    ],
)
async def test_a_file_that_is_not_what_its_setting_says_is_named(
    guarded: Etcd, authority: Authority, tmp_path: Path, setting: str, content: str, told: str
) -> None:
    """And once it is, the node joins without a restart."""
    files = secured(authority, "a")
    file: Path = getattr(files, setting)
    good = spoil(file, content, secured(authority, "b"))
    a = node(guarded, tmp_path, "a", files).start()
    try:
        await until(lambda: "EtcdRefuses" in a.conditions, "it is told")
        assert f"{setting}: {file} {told}" in a.conditions["EtcdRefuses"].message
        await asyncio.to_thread(file.write_bytes, good)
        await until(lambda: a.is_well, "it is well", within_s=LONG_S)
    finally:
        await a.stop()


async def test_a_right_that_is_taken_away_is_told_until_it_is_given_back(
    guarded: Etcd, authority: Authority, tmp_path: Path
) -> None:
    """That to write what became of its attachments, of which nothing else depends."""
    a = node(guarded, tmp_path, "a", secured(authority, "a"))
    spec = AttachmentSpec(workload_id="web", netns=NetnsRef(name="web"))
    record = Attachment(spec=spec, source="rpc", mac="02:00:00:00:00:01", generation=1)
    view = AttachmentView(record, AttachmentStatus(Phase.ATTACHED))
    attached = asyncio.Event()

    async def watch() -> AsyncIterator[WatchEvent]:
        if attached.is_set():
            yield WatchEvent(Change.PRESENT, view)
        yield WatchEvent(Change.SNAPSHOT_COMPLETE)
        await attached.wait()
        yield WatchEvent(Change.UPDATED, view)
        await asyncio.Event().wait()

    a.membership.report(watch)
    a.start()
    status = "/netplumb/nodes/a/status/"
    try:
        await until(lambda: a.is_well, "it is well", within_s=LONG_S)
        guarded.ctl("role", "revoke-permission", "--prefix=true", "a", status)
        attached.set()
        await until(lambda: "EtcdRefuses" in a.conditions, "it is told", within_s=LONG_S)
        guarded.ctl("role", "grant-permission", "--prefix=true", "a", "readwrite", status)
        await until(lambda: f"{status}web/eth0" in guarded.key_names(status), "it is in etcd", within_s=LONG_S)
        await until(lambda: a.is_well, "it is told no more", within_s=LONG_S)
    finally:
        await a.stop()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ca": "other"}, "not signed by the authority in `ca`"),
        ({"cert": "other", "key": "other"}, "see `cert` and `key`"),
        ({"cert": None, "key": None}, "see `cert` and `key`"),
        ({"scheme": "http", "ca": None, "cert": None, "key": None}, "`endpoints` begin with https"),
    ],
)
async def test_what_keeps_a_node_from_etcd_is_told_with_the_setting(
    authority: Authority, tmp_path: Path, wrong: dict[str, str | None], told: str
) -> None:
    """An authority that is another, a certificate that is, or none, and http where etcd speaks TLS."""
    ours, theirs = secured(authority, "root"), secured(Authority(tmp_path / "other").founded(), "root")
    with running(secured=ours) as etcd:
        given = {name: getattr(theirs if wrong.get(name) else ours, name) for name in ("ca", "cert", "key")}
        given |= {name: None for name, value in wrong.items() if value is None}
        endpoints = [it.replace("https:", f"{wrong.get('scheme') or 'https'}:") for it in etcd.endpoints]
        it = Node(etcd.settings(pools=[V4], **given, endpoints=endpoints), "a", tmp_path).start()
        try:
            await until(lambda: told in it.conditions["EtcdAway"].message, told, within_s=LONG_S)
        finally:
            await it.stop()


async def test_https_to_an_etcd_without_is_told_with_the_setting(
    etcd: Etcd, authority: Authority, tmp_path: Path
) -> None:
    endpoints = [it.replace("http:", "https:") for it in etcd.endpoints]
    it = Node(etcd.settings(endpoints=endpoints, ca=authority.certificate), "a", tmp_path).start()
    try:
        told = "does not speak TLS"
        await until(lambda: told in it.conditions["EtcdAway"].message, told, within_s=LONG_S)
    finally:
        await it.stop()
