"""Contents of files: hashed once, and again whenever the files may have changed."""

import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.modality import ArrayRow, UnreadableSource
from pulse_plugin import Pulse
from readonly_folders import read_only


class Reads:
    """Counts the files that are read to be hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._digest = hashlib.file_digest
        monkeypatch.setattr(hashlib, "file_digest", self._counted)

    def _counted(self, *args: object) -> object:
        self.count += 1
        return self._digest(*args)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ü n.txt"
    path.write_text("72 37.1")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once_by_all_indexes_of_a_folder(file: Path, tmp_path: Path, reads: Reads) -> None:
    for _ in range(3):
        assert ContentIndex(tmp_path / "index").digests([file, file]) == {file: _sha256(file)}
    assert reads.count == 1
    in_memory = ContentIndex()
    assert [in_memory.digests([file]), in_memory.digests([file])] == [{file: _sha256(file)}] * 2
    assert reads.count == 2


def test_files_in_several_look_ups_keep_their_content(tmp_path: Path, reads: Reads) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(600)]
    for file in files:
        file.write_text(file.name)
    expected = {file: _sha256(file) for file in files}
    assert ContentIndex(tmp_path).digests(files) == expected
    files[300].write_text("other")
    assert ContentIndex(tmp_path).digests(files) == expected | {files[300]: _sha256(files[300])}
    assert reads.count == 601


def test_changed_content_of_the_same_size_and_time_is_noticed(file: Path, tmp_path: Path) -> None:
    index, times = ContentIndex(tmp_path), file.stat()
    index.digests([file])
    file.write_text("27 37.1")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert index.digests([file]) == {file: _sha256(file)}


def test_a_link_with_a_new_target_is_followed(file: Path, tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("27 37.1")
    link.symlink_to(file)
    index = ContentIndex(tmp_path)
    assert index.digests([link])[link] == _sha256(file)
    link.unlink()
    link.symlink_to(other)
    assert index.digests([link])[link] == _sha256(other)


def test_unreadable_files_are_left_out_and_not_stored(file: Path, tmp_path: Path) -> None:
    index = ContentIndex(tmp_path)
    late = tmp_path / "late.txt"
    assert index.digests([late, tmp_path, file]) == {file: _sha256(file)}
    assert index.digests([]) == {}
    late.write_text("1 2")
    assert index.digests([late]) == {late: _sha256(late)}


def test_an_unwritable_folder_is_still_read_from(file: Path, tmp_path: Path, reads: Reads) -> None:
    index_folder, other = tmp_path / "index", tmp_path / "other.txt"
    other.write_text("1 2")
    expected = {file: _sha256(file), other: _sha256(other)}
    ContentIndex(index_folder).digests([file])
    with read_only(index_folder):
        for _ in range(2):
            assert ContentIndex(index_folder).digests([file, other]) == expected
        assert ContentIndex(index_folder / "no" / "folder").digests([file]) == {file: expected[file]}
    assert reads.count == 4
    assert [path.name for path in index_folder.iterdir()] == ["content.sqlite"]


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_damaged_database_only_costs_time(file: Path, tmp_path: Path, reads: Reads, size: int) -> None:
    index_folder = tmp_path / "index"
    ContentIndex(index_folder).digests([file])
    (index_folder / "content.sqlite").write_bytes(b"\xff" * size)
    for _ in range(3):
        assert ContentIndex(index_folder).digests([file]) == {file: _sha256(file)}
    assert reads.count <= 3
    count = reads.count
    ContentIndex(index_folder).digests([file])
    assert reads.count == count


def test_the_database_holds_no_path(file: Path, tmp_path: Path) -> None:
    ContentIndex(tmp_path).digests([file])
    with sqlite3.connect(tmp_path / "content.sqlite") as connection:
        (row,) = connection.execute("SELECT * FROM digests").fetchall()
    connection.close()
    assert not [value for value in row if "txt" in str(value) or tmp_path.name in str(value)]
    assert row[2] == _sha256(file)


def test_sources_differ_by_everything_that_a_plugin_reads(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "copy.txt"))
    digests = ContentIndex().digests([file, copy])
    sources = [file, ArrayRow(file, 0), ArrayRow(file, 1), "72 37.1", "72 37.2", {"a": "1"}, {"b": "1"}, {"a": "2"}]
    content_digests = [source_digest(source, Pulse(), digests) for source in sources]
    assert len(set(content_digests)) == len(sources)
    assert source_digest(copy, Pulse(), digests) == content_digests[0]
    assert source_digest({"x": "1", "y": "2"}, Pulse(), {}) == source_digest({"y": "2", "x": "1"}, Pulse(), {})
    with pytest.raises(UnreadableSource, match="file cannot be opened"):
        source_digest(tmp_path / "doe_john.txt", Pulse(), digests)
