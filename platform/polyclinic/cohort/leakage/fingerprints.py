"""Keys of studies: short hashes that reveal only whether two cohorts share a patient or a content."""

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

from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.cohort import Cohort, Study, file_of
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.modality import ArrayRow, EventWindow, Modality, Source, UnreadableSource
from polyclinic.system.progress import track

_KEY_BYTES = 8
_MIN_LENGTH = 40
"""Minimum bytes of a file or characters of a text; shorter ones, such as "No acute process.", are equal by chance."""

_COMMON_TEXT, _COMMON_FILE = 2, 3
"""Number of patients from which a shared content identifies none of them: a report template, an empty image."""

_BATCH_FILES = 64
_MIN_PROGRESS_FILES = 1000
_MIN_CACHED_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class StudyKeys:
    """Keys of ``N`` studies.

    Attributes:
        study_ids: ids of the studies.
        splits: splits of the studies.
        patients: keys of population and patient id.
        canonical: keys of population and canonical patient id, which is the same for ``00100`` and ``100``.
        contents: keys of the measurement's file or of the inline text, by modality; 0 where a study has no content
            that identifies a patient.
    """

    study_ids: tuple[str, ...]
    splits: tuple[str, ...]
    patients: Int64[np.ndarray, " N"]
    canonical: Int64[np.ndarray, " N"]
    contents: Mapping[str, Int64[np.ndarray, " N"]]


def study_keys(
    cohort: Cohort, modalities: Mapping[str, Modality | None], studies: Sequence[Study], *, folder: Path | None = None
) -> StudyKeys:
    """Compute the keys of some studies of a cohort; each of their files is hashed once, and cached.

    A content is a file of at least 40 bytes or an inline text of at least 40 characters; cells of the table are not
    compared, as many patients share an age and a sex. A text that two patients of the cohort share gets no key, nor
    a file that three share. Two files of one measurement that differ in a single byte, such as a date, have different
    keys.

    Args:
        cohort: cohort of the studies.
        modalities: modalities to compare, with the plugin that knows which file holds the measurement; with None it
            is the file that the cohort names.
        studies: studies to compute keys of.
        folder: cache folder of the file hashes; unless set, the user's cache is used where the files are large.
    """
    entries = list(_entries(cohort, modalities, {study.study_id for study in studies}))
    digests = _digests(list(dict.fromkeys(entry.file for entry in entries if entry.file is not None)), folder)
    keys = {(entry.study.study_id, entry.name): key for entry, key in _distinct(entries, digests)}
    return StudyKeys(
        study_ids=tuple(study.study_id for study in studies),
        splits=tuple(study.split for study in studies),
        patients=_array([_patient_key(cohort, study.patient_id) for study in studies]),
        # Hashed like the keys above, so that exposures recorded without canonical keys can still be compared.
        canonical=_array([_patient_key(cohort, canonical_id(study.patient_id)) for study in studies]),
        contents={name: _array([keys.get((study.study_id, name), 0) for study in studies]) for name in modalities},
    )


class _Entry(NamedTuple):
    """Source that may be compared: an inline text, or a file."""

    study: Study
    name: str
    source: Source
    file: Path | None

    @property
    def is_text(self) -> bool:
        return self.file is None or self.file.suffix.lower() == ".txt"


def _entries(cohort: Cohort, modalities: Mapping[str, Modality | None], wanted: Collection[str]) -> Iterator[_Entry]:
    """Yield sources to compare: files of wanted studies, and texts of all studies, as templates must be detected."""
    for study in cohort.studies:
        for name, source in study.sources.items():
            if name not in modalities or isinstance(source, Mapping):
                continue
            try:
                entry = _Entry(study, name, source, _measurement(source, modalities[name]))
                if (entry.is_text or study.study_id in wanted) and _length(entry) >= _MIN_LENGTH:
                    yield entry
            except (OSError, UnreadableSource):
                # A broken source is neither trained nor tested on; the run counts it.
                continue


def _measurement(source: Source, modality: Modality | None) -> Path | None:
    files = modality.files(source) if modality is not None else ()
    return files[-1] if files else file_of(source)


def _length(entry: _Entry) -> int:
    return len(str(entry.source)) if entry.file is None else entry.file.stat().st_size


def _distinct(entries: Sequence[_Entry], digests: Mapping[Path, str]) -> Iterator[tuple[_Entry, int]]:
    """Yield each entry whose content identifies a patient, with its key."""
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
    if isinstance(entry.source, ArrayRow):
        return _key(f"{digest}:{entry.source.row}")
    if isinstance(entry.source, EventWindow):
        return _key(f"{digest}:{entry.source.key()}")
    return _signed(bytes.fromhex(digest))


def _patient_key(cohort: Cohort, patient: str) -> int:
    return _key(json.dumps([cohort.population, patient]))


def _key(text: str) -> int:
    return _signed(hashlib.sha256(text.encode()).digest())


def _signed(digest: bytes) -> int:
    return int.from_bytes(digest[:_KEY_BYTES], "big", signed=True)


def _array(keys: Sequence[int]) -> Int64[np.ndarray, " N"]:
    return np.array(keys, dtype=np.int64)


def _digests(files: Sequence[Path], folder: Path | None) -> dict[Path, str]:
    index = ContentIndex(folder or _default_folder(files))
    batches = [files[start : start + _BATCH_FILES] for start in range(0, len(files), _BATCH_FILES)]
    tracked = track(batches, "hashing files", silent=len(files) < _MIN_PROGRESS_FILES)
    return {path: digest for batch in tracked for path, digest in index.digests(batch).items()}


def _default_folder(files: Sequence[Path]) -> Path | None:
    """Return the user's cache where the files are large enough for caching to pay off."""
    if sum(path.stat().st_size for path in files) < _MIN_CACHED_BYTES:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and f"{os.environ['HOME']}/.cache")
    return Path(home) / "polyclinic" if home else None
