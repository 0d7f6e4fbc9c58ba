"""Group files by what their names share."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.walk import stem_of

_SEPARATOR = re.compile(r"[_\-\s]+")
_NUMBER = re.compile(r"[A-Za-z]\d+|\d{2,}")
_MIN_IDENTIFIER = 3
_MIN_PARENTS, _MAX_SHARE = 3, 1 / 3

Key = tuple[str, ...]
"""Words of a name, from the left; those of the folders before it, unless it starts with an empty word."""


def identifiers_of(path: str) -> set[str]:
    """Return what may be an id in a path: its stem, its folders, and their words of three characters or more."""
    pure = PurePosixPath(path)
    parts = (stem_of(path), *pure.parent.parts)
    words = {word for part in parts for word in _SEPARATOR.split(part) if len(word) >= _MIN_IDENTIFIER}
    return {part for part in parts if part} | words


def name_keys(sources: Sequence[FileFacts]) -> list[Key]:
    """Return the name of the study of each source.

    It is the longest start of the file name, else of the path, that files of another modality share, and that has no
    second study of any modality; else the complete stem or path. Starts are compared in words, which ``_``, ``-`` and
    spaces separate.
    """
    starts: dict[Key, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for source in sources:
        for key in _starts(source):
            starts[key][source.modality].add(source.stated.study or source.path)
    stems: dict[Key, int] = defaultdict(int)
    for source in sources:
        stems[_stem(source.path)] += 1
    keys = []
    for source in sources:
        shared = (key for key in _starts(source) if _is_one_study(starts[key]))
        alone = _stem(source.path) if stems[_stem(source.path)] == 1 else _path(source.path)
        keys.append(next(shared, alone))
    return keys


def _is_one_study(modalities: dict[str, set[str]]) -> bool:
    return len(modalities) > 1 and all(len(studies) == 1 for studies in modalities.values())


def _starts(source: FileFacts) -> Iterator[Key]:
    """Yield the starts of the name, and then of the path, the longest first.

    None is followed by a word like ``S2`` or ``002``, which separates studies, unless the header states the study.
    """
    for key in (_stem(source.path), _path(source.path)):
        for length in range(len(key), 1 if key[0] == "" else 0, -1):
            if length < len(key) and _NUMBER.fullmatch(key[length]) and not source.stated.study:
                break
            yield key[:length]


def _stem(path: str) -> Key:
    return ("", *_words(stem_of(path)))


def _path(path: str) -> Key:
    folders = PurePosixPath(path).parent.parts
    return (*folders, *_words(stem_of(path)))


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATOR.split(name) if word] or [name]


def name_patients(keys: Sequence[Key]) -> dict[Key, str]:
    """Return the patient in the name of each study: the name without its last word, where that groups the studies.

    It groups them if there are three patients or more, of whom none has more than a third of the studies, and one has
    several. Otherwise names do not distinguish patients, and the result is empty.
    """
    distinct = sorted(set(keys))
    parents: dict[Key, list[Key]] = defaultdict(list)
    for key in distinct:
        parents[key[:-1]].append(key)
    sizes = [len(children) for children in parents.values()]
    named = all(any(parent) for parent in parents)
    if not named or len(sizes) < _MIN_PARENTS or max(sizes) > max(2, _MAX_SHARE * len(distinct)) or max(sizes) < 2:
        return {}
    return {key: "_".join(filter(None, parent)) for parent, children in parents.items() for key in children}
