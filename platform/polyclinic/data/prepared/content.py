"""What a source holds, as the key under which its item is kept."""

import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.modality import Modality, Source, UnreadableSource

Name = TypeVar("Name", bound=Hashable)


def content_of(sources: Mapping[Name, Source], modality: Modality, index: ContentIndex) -> dict[Name, bytes]:
    """SHA-256 of what ``read`` would see of each source; one whose files cannot be read is left out.

    The suffixes of the files belong to it, because plugins decode by them: the same bytes are a table under one and
    broken under another.
    """
    files: dict[Name, tuple[Path, ...]] = {}
    for name, source in sources.items():
        try:
            files[name] = modality.files(source)
        except UnreadableSource:
            continue
    digests = index.digests(file for several in files.values() for file in several)
    found: dict[Name, bytes] = {}
    for name, several in files.items():
        try:
            digest = source_digest(sources[name], modality, digests)
        except UnreadableSource:
            continue
        suffixes = " ".join(file.suffix.lower() for file in several)
        found[name] = hashlib.sha256(f"{digest} {suffixes}".encode()).digest()
    return found
