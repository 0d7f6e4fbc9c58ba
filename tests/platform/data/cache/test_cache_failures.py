"""A cache that is killed, damaged, full, shared or read-only: reported in one sentence, never with a wrong item."""

import errno
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cached_items import Counted, assert_as_prepared, assert_same, dataset_of, prepared, shards
from polyclinic.cohort import Study
from polyclinic.data.cache import writer as writing
from polyclinic.data.cache.shard import Shard, is_intact
from polyclinic.modality import Item
from pulse_plugin import Pulse
from readonly_folders import read_only

pytestmark = pytest.mark.processes


class Logged(Pulse):
    """Logs each pulse that is prepared, and takes some time for it."""

    log: Path
    seconds: float

    def prepare(self, raw: tuple[float, ...]) -> Item:
        with self.log.open("a") as stream:
            stream.write("x")
        time.sleep(self.seconds)
        return super().prepare(raw)


def _start(folder: Path, studies: Sequence[Study], log: Path, *, seconds: float, workers: int) -> BaseProcess:
    def work() -> None:
        Logged.log, Logged.seconds, writing.MAX_SOURCES_IN_PROCESS = log, seconds, 10
        prepared(folder, Logged(), studies, workers=workers)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def _exit_code(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_continues_where_it_stopped(studies: list[Study], tmp_path: Path, workers: int) -> None:
    folder, first, second = tmp_path / "items", tmp_path / "first", tmp_path / "second"
    killed = _start(folder, studies, first, seconds=0.02, workers=workers)
    while killed.is_alive() and not shards(folder):
        time.sleep(0.01)
    killed.kill()
    assert _exit_code(killed) == -signal.SIGKILL
    (item_folder,) = (path for path in folder.iterdir() if path.is_dir())
    (item_folder / "left.partial").write_text("half")
    assert _exit_code(_start(folder, studies, second, seconds=0, workers=workers)) == 0
    prepared_again = len(second.read_text()) if second.exists() else 0
    assert len(studies) - len(first.read_text()) <= prepared_again < len(studies)
    assert sum(len(Shard(path).contents) for path in shards(folder)) == len(studies)
    assert not list(item_folder.glob("*.partial"))
    assert_as_prepared(prepared(folder, Logged(), studies), Pulse(), studies, "first")


def test_of_two_concurrent_runs_one_prepares_and_both_find_the_items(studies: list[Study], tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [_start(tmp_path / "items", studies, log, seconds=0.01, workers=0) for _ in range(2)]
    assert [_exit_code(process) for process in processes] == [0, 0]
    assert len(log.read_text()) == len(studies)


@pytest.mark.parametrize("place", [0.0, 0.01, 0.3, 0.5, 0.8, 0.99, 1.0])
def test_a_flipped_bit_is_reported_and_the_shard_is_prepared_again(
    studies: list[Study], tmp_path: Path, place: float
) -> None:
    modality = Counted()
    prepared(tmp_path / "items", modality, studies)
    shard = shards(tmp_path / "items")[0]
    rows, times = len(Shard(shard).contents), shard.stat()
    content = bytearray(shard.read_bytes())
    content[round(place * (len(content) - 1))] ^= 4
    shard.write_bytes(content)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    modality.count = 0
    with pytest.warns(UserWarning, match="shard of `data.prepared` is damaged") as report:
        stored = prepared(tmp_path / "items", modality, studies)
    assert len(report) == 1
    assert modality.count == rows
    assert_as_prepared(stored, Pulse(), studies, "first")
    assert len(list(tmp_path.glob("items/*/*.damaged"))) == 1
    prepared(tmp_path / "items", modality, studies)
    assert modality.count == rows


@pytest.mark.parametrize("content", [b"", b"\0", b"ARROW1\0\0" * 40])
def test_a_file_that_is_not_a_shard_is_set_aside(studies: list[Study], tmp_path: Path, content: bytes) -> None:
    prepared(tmp_path / "items", Pulse(), studies[:30])
    (shards(tmp_path / "items")[0].parent / f"{'0' * 64}.arrow").write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        stored = prepared(tmp_path / "items", Pulse(), studies[:30])
    assert_as_prepared(stored, Pulse(), studies[:30], "first")


def test_a_complete_read_only_folder_is_used(studies: list[Study], tmp_path: Path) -> None:
    prepared(tmp_path / "items", Pulse(), studies)
    modality = Counted()
    prepared(tmp_path / "items", modality, studies)
    with read_only(tmp_path / "items"):
        stored = prepared(tmp_path / "items", modality, studies)
        assert_as_prepared(stored, Pulse(), studies, "first")
    assert modality.count == len(studies)


def test_items_missing_from_a_read_only_folder_come_from_the_files(studies: list[Study], tmp_path: Path) -> None:
    prepared(tmp_path / "items", Pulse(), studies[:50])
    total = len(studies)
    with read_only(tmp_path / "items"):
        with pytest.warns(UserWarning, match=f"^{total - 50} of {total} studies read their first from the") as report:
            stored = prepared(tmp_path / "items", Pulse(), studies)
        with pytest.warns(UserWarning, match=rf"^{total} of {total} studies read .* \(Permission denied\)"):
            empty = prepared(tmp_path / "items" / "deeper", Pulse(), studies)
    assert len(report) == 1
    assert str(tmp_path) not in str(report[0].message)
    dataset = dataset_of(studies, Pulse(), stored)
    for index, study in enumerate(studies):
        assert_same(dataset[0, index, 0].items["first"], Pulse().prepare(Pulse().read(study.sources["first"])))
    assert (empty.places([study.study_id for study in studies]) == -1).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_reported_and_leaves_no_partial_files(
    studies: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    written: list[int] = []
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        written.append(write(path, bytes(content)[:100] if written else content))
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return written[0]

    monkeypatch.setattr(writing, "MAX_SOURCES_IN_PROCESS", 10)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(UserWarning, match=r"read their first from the files, .* \(No space left on device\)") as report:
        stored = prepared(tmp_path / "items", Pulse(), studies, workers=workers)
    assert len(report) == 1
    assert not list(tmp_path.glob("items/*/*.partial"))
    assert all(is_intact(shard) for shard in shards(tmp_path / "items"))
    monkeypatch.undo()
    dataset = dataset_of(studies, Pulse(), stored)
    for index, study in enumerate(studies):
        assert_same(dataset[0, index, 0].items["first"], Pulse().prepare(Pulse().read(study.sources["first"])))
    assert_as_prepared(prepared(tmp_path / "items", Pulse(), studies), Pulse(), studies, "first")


def test_a_file_in_place_of_the_folder_is_reported_with_the_setting(studies: list[Study], tmp_path: Path) -> None:
    (tmp_path / "items").write_text("")
    with pytest.raises(ValueError, match=r"got a file, expected a folder.*set `data.prepared`"):
        prepared(tmp_path / "items", Pulse(), studies)


def test_a_shard_that_vanishes_in_use_is_reported_and_replaced_by_the_files(
    studies: list[Study], tmp_path: Path
) -> None:
    dataset = dataset_of(studies, Pulse(), prepared(tmp_path / "items", Pulse(), studies))
    for shard in shards(tmp_path / "items"):
        shard.unlink()
    with pytest.warns(UserWarning, match="was removed during use"):
        item = dataset[0, 0, 0].items["first"]
    assert_same(item, Pulse().prepare(Pulse().read(studies[0].sources["first"])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset[0, 0, 0]


def test_a_damaged_shard_in_a_read_only_folder_is_left_in_place_and_not_read(
    studies: list[Study], tmp_path: Path
) -> None:
    prepared(tmp_path / "items", Pulse(), studies)
    (damaged, *_) = shards(tmp_path / "items")
    lost = len(Shard(damaged).contents)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with read_only(tmp_path / "items"), pytest.warns(UserWarning, match="damaged|files") as report:
        stored = prepared(tmp_path / "items", Pulse(), studies)
    assert [str(warning.message).split(";")[0].split(" (")[0] for warning in report] == [
        "a shard of `data.prepared` is damaged",
        f"{lost} of {len(studies)} studies read their first from the files, because the folder for prepared items "
        "cannot be written",
    ]
    assert damaged.exists()
    dataset = dataset_of(studies, Pulse(), stored)
    for index, study in enumerate(studies):
        assert_same(dataset[0, index, 0].items["first"], Pulse().prepare(Pulse().read(study.sources["first"])))


def test_a_failing_plugin_loses_only_its_current_task(studies: list[Study], tmp_path: Path) -> None:
    class Failing(Counted):
        last = 40

        def prepare(self, raw: tuple[float, ...]) -> Item:
            item = super().prepare(raw)
            if self.count > self.last:
                raise RuntimeError("a mistake of the plugin")
            return item

    modality = Failing()
    with pytest.raises(RuntimeError, match="a mistake of the plugin"):
        prepared(tmp_path / "items", modality, studies)
    modality.count, modality.last = 0, 1000
    stored = prepared(tmp_path / "items", modality, studies)
    assert len(studies) - 40 <= modality.count < len(studies)
    assert_as_prepared(stored, Pulse(), studies, "first")
