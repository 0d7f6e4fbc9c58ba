"""Reports without what names their patient, as far as patterns and known names tell."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from polyclinic.modality import Cleaned, Identity, Source, Tagger, UnreadableSource, identifying_fields, labelled_names
from polyclinic_report.reading.document import read_source


def tagger_of(folder: Path) -> Tagger:
    """The model of a folder, whose libraries are imported only where one is asked for.

    Raises:
        ValueError: see ``name_tagger.read_tagger``.
    """
    tagger: Tagger = import_module("polyclinic_report.name_tagger").read_tagger(folder)
    return tagger


def text_names(source: Source, encoding: str | None = None) -> list[str]:
    """Names that a report tells by a label."""
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
    """Exchange what identifies; see ``polyclinic.privacy.text`` for what stays because no pattern finds it.

    Args:
        source: a text file, inline text or one cell.
        out: where to write what was a file, without a suffix; what stood in the table is returned as it was given.
        identity: of the patient.
        suspects: whether to let pass what still has the look of an identifier.
        encoding: of a file that is not UTF-8; None to detect it.
        ner: folder of a model that finds names, if there is one.

    Raises:
        UnreadableSource: something has that look.
    """
    text, removed = identity.text(read_source(source, encoding)[0], None if ner is None else tagger_of(ner))
    if not suspects and (left := identifying_fields(text)):
        raise UnreadableSource(f"the text still seems to hold {', '.join(left)}; look at it, and see `--keep-suspects`")
    if isinstance(source, Path):
        written = out.with_name(f"{out.name}.txt")
        written.write_text(text, encoding="utf-8")
        return Cleaned(source=written, removed=removed)
    return Cleaned(source=dict.fromkeys(source, text) if isinstance(source, Mapping) else text, removed=removed)
