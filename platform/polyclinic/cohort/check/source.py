"""What one source of a cohort shows when it is read."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyclinic.cohort.cohort import file_of
from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.modality import ArrayRow, Concern, Inspectable, Modality, Source, UnreadableSource

_SHORTEST = 200
"""Bytes, or characters of inline text: less than this is the same in two studies by chance."""

_LOOKED_AT = 4096
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")
_LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a source holds, as a digest; ``text`` for words, which may be the same in two studies without a mistake."""

    digest: bytes
    text: bool


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One source, looked over.

    Attributes:
        unreadable: the reason; empty for a source that decodes, and only then the rest says anything.
        stored_as: how an unreadable source is encoded, as far as that can be told.
        facts: what the plugin describes.
        concerns: what the plugin worries about.
        content: to find duplicates by; None where equal contents say nothing.
    """

    unreadable: str = ""
    stored_as: str = ""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()
    content: Content | None = None


def look(modality: Modality, source: Source, index: ContentIndex) -> Sight:
    """Read one source and say what it is; whatever goes wrong is a reason, never an exception."""
    if (file := file_of(source)) is not None and not file.is_file():
        return refused(modality, source, "file is gone since the table of the cohort was read")
    files: Sequence[Path] = ()
    before: list[tuple[int, int, int] | None] = []
    try:
        files = modality.files(source)
        before = _stamps(files)
        sight = _look(modality, source, files, index)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic past Exception
        sight = refused(modality, source, f"{type(error).__name__} while it was looked over: a fault of the plugin")
    if _stamps(files) != before:
        return refused(modality, source, "file changed while it was read; check again when nothing writes to it")
    return sight


def refused(modality: Modality, source: Source, reason: str) -> Sight:
    """A source that could not be read, with how it is stored if the plugin can tell."""
    stored_as = ""
    if isinstance(modality, Inspectable):
        try:
            stored_as = modality.stored_as(source)
        except Exception:
            stored_as = ""
    return Sight(unreadable=reason[:_LONGEST_REASON], stored_as=stored_as)


def decoded(modality: Modality, source: Source) -> Any:
    """The source as the plugin reads it; None for one that it does not read."""
    try:
        return modality.read(source)
    except Exception:
        return None


def _look(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Sight:
    try:
        raw = modality.read(source)
        told = modality.describe(raw).items()
        facts = {fact: value if isinstance(value, str) else float(value) for fact, value in told}
        concerns = _concerns(modality, source, raw)
        return Sight(facts=facts, concerns=concerns, content=_content(modality, source, files, index))
    except UnreadableSource as reason:
        return refused(modality, source, str(reason))


def _concerns(modality: Modality, source: Source, raw: Any) -> tuple[Concern, ...]:
    """What the plugin worries about; a header that breaks its look is a worry too, and no reason to lose the source."""
    if not isinstance(modality, Inspectable):
        return ()
    try:
        return tuple(modality.concerns(source, raw))
    except Exception as error:
        said = f"{type(error).__name__} while its header and content were looked at: what they hold is not known"
        return (Concern(severity="warning", code="not-inspected", said=said),)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = file.stat()
            found.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
        except OSError:
            found.append(None)
    return found


def _content(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Content | None:
    """By the file of the measurement alone: a header beside it names its record, so that copies of it differ."""
    if isinstance(source, str):
        digest = hashlib.sha256(source.encode()).digest()
        return Content(digest=digest, text=True) if len(source) >= _SHORTEST else None
    if not files or files[-1].stat().st_size < _SHORTEST:
        return None
    if isinstance(source, ArrayRow):
        return Content(digest=bytes.fromhex(source_digest(source, modality, index.digests(files))), text=False)
    with files[-1].open("rb") as stream:
        text = _CONTROLS.isdisjoint(stream.read(_LOOKED_AT))
    return Content(digest=bytes.fromhex(index.digests(files[-1:])[files[-1]]), text=text)
