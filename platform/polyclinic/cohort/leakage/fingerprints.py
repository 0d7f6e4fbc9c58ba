"""Studies as keys: short hashes by which two cohorts tell that they share a patient or a file, and nothing else."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from rich.progress import track

from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.cohort import Cohort, Study, file_of
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.modality import ArrayRow, Modality, Source, UnreadableSource
from polyclinic.system.terminal import Console

_BYTES = 8
_SHORT = 40
"""Bytes of a file and characters of a text below which equal content is chance: "No acute process." has seventeen."""

_COMMON_TEXT, _COMMON_FILE = 2, 3
"""Patients of one cohort from which on a content tells of none: a template of reports, an empty image."""

_AT_ONCE = 64
_WORTH_SHOWING = 1000
_WORTH_KEEPING = 1 << 30


@dataclass(frozen=True, kw_only=True)
class StudyKeys:
    """Keys of ``N`` studies.

    Attributes:
        patients: of population and patient id.
        canonical: of population and the canonical form of the patient id, which is the same for ``00100`` and ``100``.
        contents: by modality, of the file that holds the measurement or of the inline text; 0 where a study has none
            that could be told from another patient's.
    """

    study_ids: tuple[str, ...]
    splits: tuple[str, ...]
    patients: Int64[np.ndarray, " N"]
    canonical: Int64[np.ndarray, " N"]
    contents: Mapping[str, Int64[np.ndarray, " N"]]


def study_keys(
    cohort: Cohort, modalities: Mapping[str, Modality | None], studies: Sequence[Study], *, folder: Path | None = None
) -> StudyKeys:
    """Keys of some studies of a cohort; every file of theirs is read once, and remembered.

    A content is compared when it is a file or an inline text of at least 40 bytes; cells of the table never are, as
    many patients share an age and a sex. One that several patients of the cohort share is left out: a text of two, a
    file of three. Two files of one measurement that differ in a single byte, such as a date, have different keys.

    Args:
        cohort: of the studies.
        modalities: those to compare, with the plugin that says which of its files holds the measurement; without one it
            is the file that the cohort names.
        studies: some of it.
        folder: where the hashes of files are remembered; unless set, in the user's cache where there is much to read.
    """
    entries = list(_entries(cohort, modalities, {study.study_id for study in studies}))
    digests = _digests(list(dict.fromkeys(entry.file for entry in entries if entry.file is not None)), folder)
    keys = {(entry.study.study_id, entry.name): key for entry, key in _distinct(entries, digests)}
    return StudyKeys(
        study_ids=tuple(study.study_id for study in studies),
        splits=tuple(study.split for study in studies),
        patients=_array([_patient_key(cohort, study.patient_id) for study in studies]),
        # Of the same kind as the keys above, so that a record without canonical ones can be compared with them.
        canonical=_array([_patient_key(cohort, canonical_id(study.patient_id)) for study in studies]),
        contents={name: _array([keys.get((study.study_id, name), 0) for study in studies]) for name in modalities},
    )


class _Entry(NamedTuple):
    """One source that may be compared: a text, or one with a file."""

    study: Study
    name: str
    source: Source
    file: Path | None

    @property
    def is_text(self) -> bool:
        return self.file is None or self.file.suffix.lower() == ".txt"


def _entries(cohort: Cohort, modalities: Mapping[str, Modality | None], wanted: Collection[str]) -> Iterator[_Entry]:
    """Sources long enough to be compared, and texts of every study, as only the whole cohort shows a template."""
    for study in cohort.studies:
        for name, source in study.sources.items():
            if name not in modalities or isinstance(source, Mapping):
                continue
            try:
                entry = _Entry(study, name, source, _measurement(source, modalities[name]))
                if (entry.is_text or study.study_id in wanted) and _length(entry) >= _SHORT:
                    yield entry
            except (OSError, UnreadableSource):
                # What cannot be read trains and tests nothing; the run itself counts it as broken.
                continue


def _measurement(source: Source, modality: Modality | None) -> Path | None:
    files = modality.files(source) if modality is not None else ()
    return files[-1] if files else file_of(source)


def _length(entry: _Entry) -> int:
    return len(str(entry.source)) if entry.file is None else entry.file.stat().st_size


def _distinct(entries: Sequence[_Entry], digests: Mapping[Path, str]) -> Iterator[tuple[_Entry, int]]:
    """Each entry whose content tells of a patient, with its key."""
    keyed = [(entry, key) for entry in entries if (key := _content_key(entry, digests)) is not None]
    holders = defaultdict[int, set[str]](set)
    for entry, key in keyed:
        holders[key].add(entry.study.patient_id)
    for entry, key in keyed:
        if len(holders[key]) < (_COMMON_TEXT if entry.is_text else _COMMON_FILE):
            yield entry, key


def _content_key(entry: _Entry, digests: Mapping[Path, str]) -> int | None:
    if entry.file is None:
        return _key(str(entry.source))
    if (digest := digests.get(entry.file)) is None:
        return None
    row = entry.source.row if isinstance(entry.source, ArrayRow) else None
    return _signed(bytes.fromhex(digest)) if row is None else _key(f"{digest}:{row}")


def _patient_key(cohort: Cohort, patient: str) -> int:
    return _key(json.dumps([cohort.population, patient]))


def _key(text: str) -> int:
    return _signed(hashlib.sha256(text.encode()).digest())


def _signed(digest: bytes) -> int:
    return int.from_bytes(digest[:_BYTES], "big", signed=True)


def _array(keys: Sequence[int]) -> Int64[np.ndarray, " N"]:
    return np.array(keys, dtype=np.int64)


def _digests(files: Sequence[Path], folder: Path | None) -> dict[Path, str]:
    index = ContentIndex(folder or _own_folder(files))
    parts = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    shown = track(
        parts, "hashing files", transient=True, console=Console(stderr=True), disable=len(files) < _WORTH_SHOWING
    )
    return {path: digest for part in shown for path, digest in index.digests(part).items()}


def _own_folder(files: Sequence[Path]) -> Path | None:
    """The user's cache where there is much to read; little is read again sooner than it is looked after."""
    if sum(path.stat().st_size for path in files) < _WORTH_KEEPING:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and f"{os.environ['HOME']}/.cache")
    return Path(home) / "polyclinic" if home else None
