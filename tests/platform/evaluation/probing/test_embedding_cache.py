from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polyclinic.evaluation.probing.embedding_cache import EmbeddingOrigin, cached_embeddings
from polyclinic.evaluation.probing.probe import FrozenEmbeddings
from polyclinic.files.digest import file_sha256

ORIGIN = EmbeddingOrigin(
    checkpoint="c0", cohort="f0", modality="first", split="test", deviation=False, random_seed=None
)
EMBEDDINGS = FrozenEmbeddings(np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32), ["S1", "Sé2", "S3"])


def never() -> FrozenEmbeddings:
    raise AssertionError("the cache was not read")


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    computed, was_read = cached_embeddings(folder, ORIGIN, lambda: EMBEDDINGS)
    assert (computed, was_read) == (EMBEDDINGS, False)
    again, was_read = cached_embeddings(folder, ORIGIN, never)
    assert was_read
    assert again.study_ids == EMBEDDINGS.study_ids
    assert again.values.dtype == np.float32
    np.testing.assert_array_equal(again.values, EMBEDDINGS.values)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "c1"}, {"cohort": "f1"}, {"modality": "second"}, {"split": "val"}, {"deviation": True},
        {"random_seed": 0}, {"random_seed": 1},
    ],
)  # fmt: skip
def test_another_origin_is_never_read(tmp_path: Path, change: dict[str, object]) -> None:
    cached_embeddings(tmp_path, ORIGIN, lambda: EMBEDDINGS)
    other = EMBEDDINGS._replace(study_ids=["A", "B", "C"])
    computed, was_read = cached_embeddings(tmp_path, replace(ORIGIN, **change), lambda: other)  # type: ignore[arg-type]
    assert (computed.study_ids, was_read) == (["A", "B", "C"], False)
    assert cached_embeddings(tmp_path, ORIGIN, never)[0].study_ids == EMBEDDINGS.study_ids


def test_a_file_under_the_name_of_another_cohort_is_refused(tmp_path: Path) -> None:
    cached_embeddings(tmp_path, ORIGIN, lambda: EMBEDDINGS)
    (mine,) = tmp_path.iterdir()
    cached_embeddings(tmp_path, replace(ORIGIN, cohort="f1"), lambda: EMBEDDINGS)
    (other,) = set(tmp_path.iterdir()) - {mine}
    other.replace(mine)
    with pytest.raises(ValueError, match=r"first-test-.*\.npz records another origin than its name; delete"):
        cached_embeddings(tmp_path, ORIGIN, never)


def test_broken_files_and_pickles_are_refused(tmp_path: Path) -> None:
    cached_embeddings(tmp_path, ORIGIN, lambda: EMBEDDINGS)
    (path,) = tmp_path.iterdir()
    complete = path.read_bytes()
    for content in (b"", b"no archive", complete[: len(complete) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read \(.*\); delete it"):
            cached_embeddings(tmp_path, ORIGIN, never)
    with path.open("wb") as file:
        np.save(file, EMBEDDINGS.values)
    with pytest.raises(ValueError, match=r"cannot be read \(TypeError\)"):
        cached_embeddings(tmp_path, ORIGIN, never)
    with path.open("wb") as file:
        np.savez(file, origin=ORIGIN.written(), values=EMBEDDINGS.values, study_ids=np.array(["a", {}], dtype=object))
    with pytest.raises(ValueError, match=r"cannot be read \(ValueError\)"):
        cached_embeddings(tmp_path, ORIGIN, never)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        cached_embeddings(tmp_path, ORIGIN, lambda: EMBEDDINGS)
    assert not list(tmp_path.iterdir())


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
