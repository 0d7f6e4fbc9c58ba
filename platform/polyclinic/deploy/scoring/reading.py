"""Read the sources of one study, and score them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.scores import StudyScores
from polyclinic.deploy.scoring.scorer import Study, StudyScorer
from polyclinic.modality import Item, Source, UnreadableSource
from polyclinic.system.names import refuse_unknown


class StudyReading(NamedTuple):
    """The result of reading one study.

    Attributes:
        items: prepared items by modality.
        problems: reason by unreadable modality.
        notes: unused contents of the sources, as sentences.
    """

    items: Study
    problems: dict[str, str]
    notes: list[str]


def score(bundle: Bundle, files: Mapping[str, str | Path]) -> StudyScores:
    """Score one study.

    Args:
        bundle: loaded bundle.
        files: path by modality.

    Raises:
        ValueError: a file is missing or unreadable, or the bundle does not have a modality.
    """
    paths = {name: Path(file) for name, file in files.items()}
    if missing := [name for name, path in paths.items() if not path.exists()]:
        raise ValueError(f"the file of {missing[0]} does not exist; set `--{missing[0]}`")
    study, problems, notes = read_study(bundle, paths)
    if problems:
        name, reason = next(iter(problems.items()))
        raise ValueError(f"{name}: {reason}")
    notes += [note for name in paths if (note := why_unused(bundle, name)) is not None]
    scores = StudyScorer(bundle).score([study])[0]
    return replace(scores, notes=(*scores.notes, *notes))


def read_study(bundle: Bundle, sources: Mapping[str, Source]) -> StudyReading:
    """Decode and prepare the sources of one study.

    Args:
        bundle: bundle with the plugins that read the sources.
        sources: sources by modality.

    Raises:
        ValueError: the bundle does not have a modality.
    """
    items: dict[str, Item] = {}
    problems: dict[str, str] = {}
    notes: list[str] = []
    for name, source in sources.items():
        refuse_unknown("modality", [name], bundle.modalities, "omit it, or use a bundle with it")
        plugin = bundle.modalities[name]
        try:
            raw = plugin.read(source)
            items[name] = bundle.prepare(name, raw)
            notes += [f"{name}: {note}" for note in plugin.notes(raw)]
        except UnreadableSource as reason:
            problems[name] = str(reason)
    return StudyReading(items, problems, notes)


def why_unused(bundle: Bundle, name: str) -> str | None:
    """Return why a modality of the bundle is not an input modality; None if it is."""
    if name in bundle.query:
        return None
    prompts = bundle.content.prompts
    if prompts is not None and name == prompts.modality:
        return f"{name} is the prompt modality, so it is not used as input"
    return f"{name} was excluded from the input modalities when the bundle was exported"
