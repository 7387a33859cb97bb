"""The store's file: what cannot be believed is kept and begun anew from what is known otherwise, never from nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkdtemp

import pytest

from netplumb.models.attachment import REBUILT_SOURCE, Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import Retryable
from netplumb.models.naming import workload_mac
from netplumb.reconciler.desired.reservations import Reservation
from netplumb.reconciler.desired.store import Change, Contents, Store
from netplumb.reconciler.desired.storefile import MIGRATIONS, SCHEMA, TABLES, StoreUnusableError, Verdict, connect

NODE = "boot-1/4711"
LINK, ADDRESSES = "npaaaaaaaaaaaa", (ip_address("10.1.0.9"), ip_address("fd01::9"))
RESERVED = Reservation(ip_address("10.1.0.8"), AttachmentKey("pod", "eth0"), 4711.5)


def attachment(workload_id: str = "web", source: str = "rpc") -> Attachment:
    spec = AttachmentSpec(workload_id=workload_id, netns=NetnsRef(name=workload_id))
    mac = workload_mac(spec.key)
    return Attachment(spec=spec, source=source, addresses=(ip_address("10.1.0.2"),), mac=mac, netns_cookie=5)


WEB = attachment()
REBUILT = attachment(source=REBUILT_SOURCE)


def rebuilt() -> Change:
    return Change(put=(REBUILT,), cursors=[("10.1.0.0/24", 10)], unclaimed={LINK: ADDRESSES})


def never() -> Change:
    raise AssertionError("a store that can be read is not rebuilt")


def filled(directory: Path, workloads: int = 400) -> Path:
    """A store of several pages in which `web` is recorded last, closed in good order."""
    with closing(Store(directory, NODE)) as store:
        store.commit(Change(put=tuple(attachment(f"w{number}") for number in range(workloads))))
        store.commit(Change(put=(WEB,)))
    return directory / "netplumb.db"


def left_by_a_kill(directory: Path, *, checkpoint: bool = False) -> Path:
    """The files of a store as they lie while it is open: what was committed is still in SQLite's log, all of it or what
    came since a stop in good order."""
    live = Path(mkdtemp(dir=directory))
    if checkpoint:
        Store(live, NODE).close()
    with closing(Store(live, NODE)) as store:
        store.commit(Change(put=(WEB,)))
        for file in live.iterdir():
            if file.name.startswith("netplumb.db"):
                (directory / file.name).write_bytes(file.read_bytes())
    return directory / "netplumb.db"


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 1000)


def overwrite_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)


def drop_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE meta")
        database.commit()


def no_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = 'many' WHERE name = 'schema'")
        database.commit()


@pytest.mark.parametrize(
    "damage", [empty, truncate, cut_short, fill_with_garbage, overwrite_pages, drop_a_table, no_schema]
)
def test_a_damaged_file_is_kept_and_the_new_one_begins_with_what_was_rebuilt(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Whatever is wrong with the file: it is moved as it is, and desired state is what the kernel tells of."""
    path = filled(tmp_path)
    damage(path)
    damaged = path.read_bytes()
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert (store.is_new, store.origin.verdict) == (True, Verdict.DAMAGED)
        assert store.origin.kept_as == str(tmp_path / "netplumb.db.damaged")
        contents = store.load()
    assert (tmp_path / "netplumb.db.damaged").read_bytes() == damaged
    assert contents == Contents({REBUILT.key: REBUILT}, cursors={"10.1.0.0/24": 10}, unclaimed={LINK: ADDRESSES})


def test_what_was_rebuilt_is_there_at_the_next_start_too(tmp_path: Path) -> None:
    """It is committed with the new file, and why there is one stays known."""
    empty(filled(tmp_path))
    Store(tmp_path, NODE, rebuilt).close()
    with closing(Store(tmp_path, NODE, never)) as store:
        assert store.load().attachments == {REBUILT.key: REBUILT}
        assert store.used_pools() == {"10.1.0.0/24"}
        assert not store.is_new
        assert store.origin.verdict is Verdict.DAMAGED
        assert store.origin.made_at > 0


def test_a_log_goes_with_its_file(tmp_path: Path) -> None:
    """After a kill nearly all is in SQLite's log; what is kept can still be read by who wants to."""
    path = left_by_a_kill(tmp_path)
    log = log_of(path).read_bytes()
    empty(path)
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.load().attachments == {REBUILT.key: REBUILT}
    assert log_of(tmp_path / "netplumb.db.damaged").read_bytes() == log


def cut_by_a_frame(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4120])


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_the_end(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2000:] = b"\xa5" * 2000
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [fill_with_garbage, empty, Path.unlink, cut_by_a_frame, cut_in_half, overwrite_the_end]
)
@pytest.mark.parametrize("checkpoint", [False, True], ids=["all of it in the log", "a part of it in the log"])
def test_a_damaged_log_is_damage(tmp_path: Path, damage: Callable[[Path], None], checkpoint: bool) -> None:
    """SQLite passes over what it cannot read of a log. What is left without the end of it is not taken for all there
    was: what was attached last would pass for nobody's."""
    path = left_by_a_kill(tmp_path, checkpoint=checkpoint)
    with closing(Store(tmp_path, NODE, never)) as store:
        assert store.load().attachments == {WEB.key: WEB}
    path = left_by_a_kill(tmp_path, checkpoint=checkpoint)
    damage(log_of(path))
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.origin.verdict is Verdict.DAMAGED
        assert store.load().attachments == {REBUILT.key: REBUILT}


def test_a_log_without_its_file_is_kept(tmp_path: Path) -> None:
    left_by_a_kill(tmp_path).unlink()
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.origin.verdict is Verdict.DAMAGED
    assert log_of(tmp_path / "netplumb.db.damaged").stat().st_size


def test_no_kept_file_is_overwritten_by_the_next(tmp_path: Path) -> None:
    """Damage that repeats leaves one file each time."""
    for number in range(3):
        (tmp_path / "netplumb.db").write_bytes(b"garbage %d" % number)
        Store(tmp_path, NODE).close()
    kept = [f"netplumb.db.damaged{suffix}" for suffix in ("", "-1", "-2")]
    assert [(tmp_path / name).read_bytes() for name in kept] == [b"garbage 0", b"garbage 1", b"garbage 2"]


def test_of_other_boots_only_the_last_is_kept(tmp_path: Path) -> None:
    """A data directory that outlives boots does not fill up with their stores."""
    filled(tmp_path)
    for boot in ("boot-2", "boot-3", "boot-4"):
        Store(tmp_path, f"{boot}/1").close()
    assert {file.name for file in tmp_path.iterdir()} == {"lock", "netplumb.db", "netplumb.db.other-boot-or-node"}


def test_a_missing_file_is_rebuilt_and_a_readable_one_is_not(tmp_path: Path) -> None:
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.origin.verdict is Verdict.MISSING
        assert store.load().attachments == {REBUILT.key: REBUILT}
    Store(tmp_path, NODE, never).close()


def test_a_kernel_that_cannot_be_read_ends_the_start_and_the_next_one_asks_again(tmp_path: Path) -> None:
    """Half an answer never becomes desired state: without one, there is no store and no lock."""

    def silent() -> Change:
        raise Retryable("the kernel did not answer")

    path = filled(tmp_path)
    fill_with_garbage(path)
    with pytest.raises(Retryable):
        Store(tmp_path, NODE, silent)
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.load().attachments == {REBUILT.key: REBUILT}


def test_one_that_was_half_made_is_made_again(tmp_path: Path) -> None:
    """A daemon killed between the making of the file and its first commit leaves a file without tables; an empty
    store that counted would have everything in the kernel removed."""
    with closing(sqlite3.connect(tmp_path / "netplumb.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.load().attachments == {REBUILT.key: REBUILT}


def of_schema_1(directory: Path) -> Path:
    """A file as netplumb wrote it before links could be unclaimed."""
    path = directory / "netplumb.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        for statement in TABLES[:6]:
            database.execute(statement)
        database.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", "1"), ("node", NODE)])
        record = WEB.model_dump_json(exclude_defaults=True)
        database.execute("INSERT INTO attachment VALUES ('web', 'eth0', ?)", (record,))
        database.commit()
    return path


def test_an_older_schema_is_brought_to_this_one(tmp_path: Path) -> None:
    """Nothing is lost, nothing is rebuilt, and what the newer one can do can be done."""
    path = of_schema_1(tmp_path)
    with closing(Store(tmp_path, NODE, never)) as store:
        store.commit(Change(unclaimed={LINK: ADDRESSES}, reserved=[RESERVED]))
    with closing(Store(tmp_path, NODE, never)) as store:
        assert store.load() == Contents({WEB.key: WEB}, unclaimed={LINK: ADDRESSES}, reserved=[RESERVED])
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (str(SCHEMA),)
    assert {file.name for file in tmp_path.iterdir()} == {"lock", "netplumb.db"}


def test_there_is_a_way_from_every_older_schema() -> None:
    assert set(MIGRATIONS) == set(range(1, SCHEMA))


def _field_names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _field_names(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _field_names(inner)


def test_the_schema_grows_with_every_field_of_a_record() -> None:
    """An older netplumb takes a record with a field that it does not know for damage. Who changes a field changes this
    digest, and does it together with SCHEMA and a migration once a netplumb with the one before has been released."""
    names = " ".join(sorted(set(_field_names(Attachment.model_json_schema()))))
    assert (SCHEMA, sha256(names.encode()).hexdigest()[:12]) == (4, "c6491d81561d")


@pytest.mark.parametrize(("schema", "words"), [(SCHEMA + 1, "newer netplumb"), (0, "no netplumb wrote")])
def test_a_schema_without_a_way_is_refused_and_left_alone(tmp_path: Path, schema: int, words: str) -> None:
    """A newer file is not touched, and the refusal says what to do."""
    path = of_schema_1(tmp_path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(schema),))
        database.commit()
    before = path.read_bytes()
    with pytest.raises(StoreUnusableError, match=rf"{words}.*move the file away"):
        Store(tmp_path, NODE, never)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory in the file's place is left where it is."""
    (tmp_path / "netplumb.db").mkdir()
    with pytest.raises(StoreUnusableError, match="cannot open"):
        Store(tmp_path, NODE, never)
    assert (tmp_path / "netplumb.db").is_dir()


def test_a_claimed_link_is_no_longer_unclaimed(tmp_path: Path) -> None:
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        store.commit(Change(claimed=[LINK]))
        assert store.load().unclaimed == {}


def test_the_key_of_a_rebuilt_record_is_kept(tmp_path: Path) -> None:
    with closing(Store(tmp_path, NODE, rebuilt)) as store:
        assert store.load().attachments[AttachmentKey("web", "eth0")].is_rebuilt


def test_no_commit_waits_for_a_disk(tmp_path: Path) -> None:
    """What the kernel has taken survives the daemon, and the kernel's own death ends the boot that a store is of."""
    with closing(connect(tmp_path / "netplumb.db")) as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (0,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
