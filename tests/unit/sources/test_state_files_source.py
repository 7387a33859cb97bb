"""The directory of state files → desired state, on real directories. Waits poll; nothing sleeps for a fixed time."""

# ruff: noqa: ASYNC240 -- the tests move files about between awaits

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netplumb.reconciler.pacing import rests
from netplumb.reconciler.sources import directory as directories
from netplumb.reconciler.sources import files
from netplumb.reconciler.sources.directory import FileContent
from netplumb.reconciler.sources.files import StateFiles
from tests.unit.recorder import Recorder, document, replace, running, swap, until

POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: "deny-{}"}}
spec: {{podSelector: {{}}}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


@pytest.fixture
def desired() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SETTLE_S", 0.005)


class TestScan:
    async def test_every_file_is_declared_and_then_it_is_loaded(self, directory: Path, desired: Recorder) -> None:
        (directory / "a.yaml").write_text(document("a-1") + "---\n" + document("a-2"))
        (directory / "b.json").write_text('{"kind": "Attachment", "workload_id": "b", "netns": {"path": "/b"}}')
        (directory / "c.yml").write_text(document("c"))
        await StateFiles(directory, desired).scan()
        assert desired.partitions == {"file/a.yaml": ["a-1", "a-2"], "file/b.json": ["b"], "file/c.yml": ["c"]}
        assert desired.loads == 1

    @pytest.mark.parametrize(
        "name", [".a.yaml", ".#a.yaml", "#a.yaml#", "a.yaml~", ".a.yaml.swp", "4913", "a.tmp", "README"]
    )
    async def test_other_files_are_let_be(self, directory: Path, desired: Recorder, name: str) -> None:
        (directory / name).write_text("{")
        await StateFiles(directory, desired).scan()
        assert (desired.calls, desired.problems) == ([], {})

    async def test_what_did_not_change_is_not_declared_again(self, directory: Path, desired: Recorder) -> None:
        file = directory / "a.yaml"
        file.write_text(document("a"))
        source = StateFiles(directory, desired)
        await source.scan()
        replace(file, document("a"))
        await source.scan()
        assert desired.calls == [("file/a.yaml", "a")]
        assert desired.loads == 1

    async def test_a_file_that_breaks_keeps_its_last_content(self, directory: Path, desired: Recorder) -> None:
        file = directory / "a.yaml"
        file.write_text(document("a"))
        source = StateFiles(directory, desired)
        await source.scan()
        file.write_text(document("a") + "if_name: 'eth 0'\n")
        await source.scan()
        assert desired.partitions == {"file/a.yaml": ["a"]}
        assert desired.problems == {"file/a.yaml": "a.yaml:4: if_name: 'eth 0' must not contain ' '"}
        file.write_text(document("a"))
        await source.scan()
        assert desired.problems == {}

    async def test_a_restart_beside_a_broken_file_changes_nothing(self, directory: Path) -> None:
        (directory / "a.yaml").write_text("{")
        desired = Recorder("file/a.yaml")
        await StateFiles(directory, desired).scan()
        assert desired.calls == []
        assert desired.loads == 1

    async def test_what_vanished_while_the_daemon_was_away_is_removed(self, directory: Path) -> None:
        desired = Recorder("file/gone.yaml")
        await StateFiles(directory, desired).scan()
        assert desired.calls == [("file/gone.yaml",)]

    async def test_a_broken_file_that_vanishes_is_no_longer_told_of(self, directory: Path, desired: Recorder) -> None:
        file = directory / "a.yaml"
        file.write_text("{")
        source = StateFiles(directory, desired)
        await source.scan()
        assert desired.problems.keys() == {"file/a.yaml"}
        file.unlink()
        await source.scan()
        assert desired.problems == {}

    async def test_a_rename_declares_the_new_name_first(self, directory: Path, desired: Recorder) -> None:
        (directory / "b.yaml").write_text(document("web"))
        source = StateFiles(directory, desired)
        await source.scan()
        desired.calls.clear()
        (directory / "b.yaml").rename(directory / "a.yaml")
        await source.scan()
        (directory / "a.yaml").rename(directory / "c.yaml")
        await source.scan()
        assert desired.calls == [("file/a.yaml", "web"), ("file/b.yaml",), ("file/c.yaml", "web"), ("file/a.yaml",)]

    async def test_a_document_moved_between_files_is_taken_over_first(self, directory: Path, desired: Recorder) -> None:
        (directory / "a.yaml").write_text(document("stays") + "---\n" + document("moves"))
        source = StateFiles(directory, desired)
        await source.scan()
        desired.calls.clear()
        (directory / "a.yaml").write_text(document("stays"))
        (directory / "b.yaml").write_text(document("moves"))
        await source.scan()
        assert desired.calls == [("file/b.yaml", "moves"), ("file/a.yaml", "stays")]

    async def test_a_missing_directory_removes_nothing(self, directory: Path) -> None:
        directory.rmdir()
        desired = Recorder("file/a.yaml")
        source = StateFiles(directory, desired)
        await source.scan()
        assert desired.problems == {"file/": f"{directory}: No such file or directory"}
        assert (desired.calls, desired.loads) == ([], 0)
        directory.mkdir()
        (directory / "a.yaml").write_text(document("a"))
        await source.scan()
        assert desired.problems == {}
        assert (desired.partitions, desired.loads) == ({"file/a.yaml": ["a"]}, 1)

    async def test_what_is_no_regular_file_within_is_never_read(self, directory: Path, desired: Recorder) -> None:
        outside = directory.with_name("outside.yaml")
        outside.write_text(document("outside"))
        os.mkfifo(directory / "fifo.yaml")
        (directory / "folder.yaml").mkdir()
        (directory / "out.yaml").symlink_to(outside)
        (directory / "device.yaml").symlink_to("/dev/zero")
        (directory / "dangling.yaml").symlink_to("nowhere")
        (directory / "inside.yaml").symlink_to("target")
        (directory / "target").write_text(document("inside"))
        await StateFiles(directory, desired).scan()
        assert desired.partitions == {"file/inside.yaml": ["inside"]}
        assert desired.problems == {
            "file/fifo.yaml": "fifo.yaml: is not a regular file",
            "file/folder.yaml": "folder.yaml: is a directory",
            "file/out.yaml": "out.yaml: leads out of the directory of state files",
            "file/device.yaml": "device.yaml: is not a regular file",
            "file/dangling.yaml": "dangling.yaml: No such file or directory",
        }

    async def test_a_huge_file_is_refused_without_reading_it_whole(self, directory: Path, desired: Recorder) -> None:
        with (directory / "huge.yaml").open("wb") as file:
            file.truncate(1 << 40)
        await StateFiles(directory, desired).scan()
        assert desired.problems == {"file/huge.yaml": "huge.yaml: is larger than 1048576 bytes"}

    async def test_a_name_that_does_not_print_is_told_of_in_one_that_does(
        self, directory: Path, desired: Recorder
    ) -> None:
        (directory / "a\n\udcff.yaml").write_text(document("a"))
        await StateFiles(directory, desired).scan()
        assert list(desired.problems) == [r"file/'a\n\udcff.yaml'"]
        assert all(message.isprintable() for message in desired.problems.values())

    async def test_a_file_that_never_rests_keeps_its_content_and_holds_up_nobody(
        self, directory: Path, desired: Recorder
    ) -> None:
        file = directory / "log.yaml"
        file.write_text(document("first"))
        source = StateFiles(directory, desired)
        await source.scan()
        (directory / "calm.yaml").write_text(document("calm"))
        look = directories.contents
        parsed: list[str] = []

        def look_beside_a_writer(*arguments: Any) -> Mapping[str, FileContent]:
            with file.open("a") as log:
                log.write("---\n" + document("other"))
            found = look(*arguments)
            parsed.extend(found)
            return found

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(directories, "contents", look_beside_a_writer)
            await source.scan()
        assert desired.partitions == {"file/log.yaml": ["first"], "file/calm.yaml": ["calm"]}
        assert desired.problems == {"file/log.yaml": "log.yaml: is being written to without a pause"}
        assert parsed.count("calm.yaml") == 1
        file.write_text(document("first"))
        await source.scan()
        assert desired.problems == {}

    async def test_a_file_is_taken_once_nobody_has_it_open_for_writing(
        self, directory: Path, desired: Recorder
    ) -> None:
        """However long the writer pauses, and though what is there so far could be taken: the rest is no removal."""
        file = directory / "a.yaml"
        file.write_text(document("a-1") + "---\n" + document("a-2"))
        source = StateFiles(directory, desired)
        await source.scan()
        with file.open("w") as written:
            written.write(document("a-1"))
            written.flush()
            await source.scan()
            assert desired.partitions == {"file/a.yaml": ["a-1", "a-2"]}
            assert desired.problems == {"file/a.yaml": f"a.yaml: {directories.WRITTEN}"}
            written.write("---\n" + document("a-3"))
        await source.scan()
        assert (desired.partitions, desired.problems) == ({"file/a.yaml": ["a-1", "a-3"]}, {})

    async def test_a_file_that_stays_open_for_writing_and_says_what_it_said_is_nothing_to_tell_of(
        self, directory: Path, desired: Recorder
    ) -> None:
        file = directory / "a.yaml"
        file.write_text(document("a"))
        source = StateFiles(directory, desired)
        await source.scan()
        with file.open("a"):
            await source.scan()
        assert (desired.calls, desired.problems) == ([("file/a.yaml", "a")], {})

    async def test_a_file_that_was_open_while_all_others_were_loaded_is_read_by_itself(
        self, directory: Path, desired: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When it is closed nothing needs to be told: it is looked at again until then."""
        monkeypatch.setattr(files, "POLL_S", 0.01)
        written = (directory / "a.yaml").open("w")
        with written:
            written.write(document("a"))
            written.flush()
            async with running(StateFiles(directory, desired)):
                await until(lambda: desired.problems == {"file/a.yaml": f"a.yaml: {directories.WRITTEN}"})
                written.close()
                await until(lambda: desired.partitions == {"file/a.yaml": ["a"]} and not desired.problems)

    async def test_a_file_that_takes_long_is_not_read_again_before_that_is_paid_for(
        self, directory: Path, desired: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However often it is written; others are read meanwhile, and it is in the end."""
        monkeypatch.setattr(rests, "DEAR_S", 0.0)
        monkeypatch.setattr(rests, "RESTS_TIMES", 1e9)
        heavy = directory / "heavy.yaml"
        heavy.write_text(document("first"))
        source = StateFiles(directory, desired)
        await source.scan()
        heavy.write_text(document("second"))
        (directory / "calm.yaml").write_text(document("calm"))
        await source.scan()
        assert desired.partitions == {"file/heavy.yaml": ["first"], "file/calm.yaml": ["calm"]}
        assert desired.problems == {"file/heavy.yaml": f"heavy.yaml: {directories.PUT_OFF}"}
        monkeypatch.setattr(rests, "RESTS_MOST_S", 0.0)
        source._rests_until.clear()
        await source.scan()
        assert (desired.partitions["file/heavy.yaml"], desired.problems) == (["second"], {})

    async def test_a_link_to_what_is_written_elsewhere_says_that_it_leads_out(
        self, directory: Path, desired: Recorder
    ) -> None:
        outside = directory.with_name("outside.log")
        (directory / "link.yaml").symlink_to(outside)
        look = directories.contents

        def look_beside_a_writer(*arguments: Any) -> Mapping[str, FileContent]:
            with outside.open("a") as log:
                log.write("more")
            return look(*arguments)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(directories, "contents", look_beside_a_writer)
            await StateFiles(directory, desired).scan()
        assert desired.problems == {"file/link.yaml": "link.yaml: leads out of the directory of state files"}

    @pytest.mark.parametrize("content", ["first", "second"])
    async def test_a_file_that_cannot_be_read_for_a_moment_counts_as_it_is_afterwards(
        self, directory: Path, desired: Recorder, content: str
    ) -> None:
        """Whether it then says what it said before or not."""
        file, aside = directory / "a.yaml", directory / "aside"
        file.write_text(document("first"))
        source = StateFiles(directory, desired)
        await source.scan()
        file.write_text(document(content))
        look = directories.contents
        looks: list[Mapping[str, FileContent]] = []

        def look_in_a_bad_moment(*arguments: Any) -> Mapping[str, FileContent]:
            bad = len(looks) == 1
            if bad:
                file.rename(aside)
                file.mkdir()
            looks.append(look(*arguments))
            if bad:
                file.rmdir()
                aside.rename(file)
            (directory / "restless.yaml").write_text(document("x" * len(looks)))
            return looks[-1]

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(directories, "contents", look_in_a_bad_moment)
            patched.setattr(files, "_LOOKS", 4)
            await source.scan()
        assert looks[1]["a.yaml"].problem == "a.yaml: is a directory"
        assert desired.partitions["file/a.yaml"] == [content]
        assert "file/a.yaml" not in desired.problems

    async def test_what_desired_state_could_not_take_is_tried_again(self, directory: Path, desired: Recorder) -> None:
        (directory / "a.yaml").write_text(document("a"))
        source = StateFiles(directory, desired)
        desired.refusing = True
        await source.scan()
        assert desired.problems == {"file/a.yaml": "the disk is full"}
        desired.refusing = False
        await source.scan()
        assert (desired.partitions, desired.problems) == ({"file/a.yaml": ["a"]}, {})

    async def test_thousands_of_broken_files_hold_nobody_up(self, directory: Path, desired: Recorder) -> None:
        """Others have a turn between any two of them."""
        for number in range(100):
            (directory / f"{number}.yaml").write_text("nonsense: 1\n")
        told = list[int]()

        async def others() -> None:
            while True:
                told.append(len(desired.problems))
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        await StateFiles(directory, desired).scan()
        task.cancel()
        assert set(told) >= set(range(1, 100))

    async def test_policies_of_all_files_of_a_look_change_at_once(self, directory: Path, desired: Recorder) -> None:
        """What follows from policies follows from all there are; it is not made anew for each file."""
        source = StateFiles(directory, desired)
        for number in range(20):
            (directory / f"{number}.yaml").write_text(POLICY.format(number))
        await source.scan()
        assert (desired.policy_calls, len(desired.policies)) == (1, 20)
        for number in range(10):
            (directory / f"{number}.yaml").unlink()
        desired.partitions |= {source: [] for source in desired.policies}
        await source.scan()
        assert (desired.policy_calls, sum(map(len, desired.policies.values()))) == (2, 10)

    async def test_policies_that_desired_state_could_not_take_are_tried_again(
        self, directory: Path, desired: Recorder
    ) -> None:
        """The file's attachments wait: none comes up without the policies that are about it."""
        (directory / "a.yaml").write_text(document("a"))
        source = StateFiles(directory, desired)
        desired.refusing_policies = True
        await source.scan()
        assert (desired.partitions, desired.problems) == ({}, {"file/a.yaml": "the disk is full"})
        desired.refusing_policies = False
        await source.scan()
        assert (desired.partitions, desired.problems) == ({"file/a.yaml": ["a"]}, {})


class TestRun:
    async def test_changes_are_followed(self, directory: Path, desired: Recorder) -> None:
        file = directory / "a.yaml"
        file.write_text(document("one"))
        async with running(StateFiles(directory, desired)):
            await until(lambda: desired.loads == 1)
            file.write_text(document("two"))
            await until(lambda: desired.partitions == {"file/a.yaml": ["two"]})
            replace(file, document("three"))
            await until(lambda: desired.partitions == {"file/a.yaml": ["three"]})
            file.rename(directory / "b.yaml")
            await until(lambda: desired.partitions == {"file/b.yaml": ["three"]})
            (directory / "b.yaml").unlink()
            await until(lambda: desired.partitions == {})

    async def test_a_config_map_that_is_swapped_is_followed(self, directory: Path, desired: Recorder) -> None:
        for version in ("1", "2"):
            (directory / f"..{version}").mkdir()
            (directory / f"..{version}/web.yaml").write_text(document(f"web-{version}"))
        (directory / "..data").symlink_to("..1")
        (directory / "web.yaml").symlink_to("..data/web.yaml")
        async with running(StateFiles(directory, desired)):
            await until(lambda: desired.partitions == {"file/web.yaml": ["web-1"]})
            swap(directory / "..data", "..2")
            shutil.rmtree(directory / "..1")
            await until(lambda: desired.partitions == {"file/web.yaml": ["web-2"]})
        assert desired.calls == [("file/web.yaml", "web-1"), ("file/web.yaml", "web-2")]
        assert desired.problems == {}

    async def test_a_directory_behind_a_swapped_symlink_is_followed(
        self, directory: Path, desired: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "POLL_S", 0.02)
        for version in ("1", "2"):
            (directory / version).mkdir()
            (directory / version / "web.yaml").write_text(document(f"web-{version}"))
        (directory / "live").symlink_to("1")
        async with running(StateFiles(directory / "live", desired)):
            await until(lambda: desired.partitions == {"file/web.yaml": ["web-1"]})
            swap(directory / "live", "2")
            await until(lambda: desired.partitions == {"file/web.yaml": ["web-2"]})

    async def test_a_directory_is_picked_up_when_it_appears_and_kept_in_mind_when_it_goes(
        self, directory: Path, desired: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "POLL_S", 0.02)
        directory.rmdir()
        async with running(StateFiles(directory, desired)):
            await until(lambda: "file/" in desired.problems)
            directory.mkdir()
            replace(directory / "a.yaml", document("one"))
            await until(lambda: desired.partitions == {"file/a.yaml": ["one"]})
            directory.rename(directory.with_name("away"))
            await until(lambda: "file/" in desired.problems)
            assert desired.partitions == {"file/a.yaml": ["one"]}
            directory.mkdir()
            replace(directory / "a.yaml", document("two"))
            await until(lambda: desired.partitions == {"file/a.yaml": ["two"]})

    async def test_waking_causes_a_look_without_any_event(
        self, directory: Path, desired: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def deaf(_: StateFiles) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(StateFiles, "_watch", deaf)
        source = StateFiles(directory, desired)
        async with running(source):
            await until(lambda: desired.loads == 1)
            (directory / "a.yaml").write_text(document("a"))
            source.wake()
            await until(lambda: desired.partitions == {"file/a.yaml": ["a"]})
