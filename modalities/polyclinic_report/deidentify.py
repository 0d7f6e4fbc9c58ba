"""De-identify reports by patterns, known names and, optionally, a model that finds names."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from polyclinic.modality import Cleaned, Identity, Source, Tagger, UnreadableSource, identifying_fields, labelled_names
from polyclinic_report.reading.document import read_source


def tagger_of(folder: Path) -> Tagger:
    """Read the name tagger of a folder; its libraries are imported only if one is used.

    Raises:
        ValueError: see ``name_tagger.read_tagger``.
    """
    tagger: Tagger = import_module("polyclinic_report.name_tagger").read_tagger(folder)
    return tagger


def text_names(source: Source, encoding: str | None = None) -> list[str]:
    """Return names of persons that follow a label in a report."""
    return labelled_names(read_source(source, encoding)[0])


def write_clean_text(
    source: Source,
    out: Path,
    identity: Identity,
    *,
    suspects: bool,
    encoding: str | None = None,
    ner: Path | None = None,
) -> Cleaned:
    """Replace identifiers; see ``polyclinic.privacy.text`` for those that no pattern finds.

    Args:
        source: text file, inline text or one cell.
        out: output path without a suffix, for files; inline text is returned.
        identity: replacements for the patient.
        suspects: whether to accept text that still looks like an identifier.
        encoding: encoding of files that are not UTF-8; None to detect it.
        ner: folder of a name tagger.

    Raises:
        UnreadableSource: something still looks like an identifier.
    """
    text, removed = identity.text(read_source(source, encoding)[0], None if ner is None else tagger_of(ner))
    if not suspects and (kinds := identifying_fields(text)):
        raise UnreadableSource(f"the text still seems to hold {', '.join(kinds)}; review it, and see `--keep-suspects`")
    if isinstance(source, Path):
        target = out.with_name(f"{out.name}.txt")
        target.write_text(text, encoding="utf-8")
        return Cleaned(source=target, removed=removed)
    return Cleaned(source=dict.fromkeys(source, text) if isinstance(source, Mapping) else text, removed=removed)
