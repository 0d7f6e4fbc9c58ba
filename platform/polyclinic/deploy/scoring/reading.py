"""From files to prepared items."""

from collections.abc import Mapping
from typing import NamedTuple

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.scoring.scorer import Study
from polyclinic.modality import Item, Source, UnreadableSource


class StudyReading(NamedTuple):
    """One study as it was read.

    Attributes:
        items: prepared, by modality.
        problems: by modality, why a source could not be read.
        notes: what of the sources was not used, in sentences.
    """

    items: Study
    problems: dict[str, str]
    notes: list[str]


def read_study(bundle: Bundle, sources: Mapping[str, Source]) -> StudyReading:
    """Decode and prepare what one study has.

    Args:
        bundle: whose plugins read.
        sources: by modality.

    Raises:
        ValueError: a modality that the bundle does not know.
    """
    items: dict[str, Item] = {}
    problems: dict[str, str] = {}
    notes: list[str] = []
    for name, source in sources.items():
        if name not in bundle.modalities:
            raise ValueError(f"got modality {name!r}, the bundle has {list(bundle.modalities)}; leave it out")
        plugin = bundle.modalities[name]
        try:
            raw = plugin.read(source)
            items[name] = plugin.prepare(raw)
            notes += [f"{name}: {note}" for note in plugin.notes(raw)]
        except UnreadableSource as reason:
            problems[name] = str(reason)
    return StudyReading(items, problems, notes)


def silent(bundle: Bundle, name: str) -> str | None:
    """Why a modality of the bundle does not speak; None where it does."""
    if name in bundle.query:
        return None
    if name == bundle.content.prompts.modality:
        return f"{name} is what the prompts are written in; it does not speak"
    return f"{name} was left out of the query when the bundle was exported"
