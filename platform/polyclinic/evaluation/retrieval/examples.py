"""Picture of a few queries with what was retrieved for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyclinic.cohort import Study
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.retrieval.retrieval import place_among_all
from polyclinic.modality import Imputable, Modality
from polyclinic.training.restore import Restored

_BEST, _WORST = 2, 2
_FIRST_CANDIDATES = 3
_MATCH, _OTHER = "#009E73", "#D55E00"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A modality of a study to draw.

    Attributes:
        study_id: study to draw.
        modality: modality to draw.
        title: text above the picture.
        frame: colour of the frame; None for that of the plugin.
    """

    study_id: str
    modality: str
    title: str
    frame: str | None = None


def retrieval_examples(
    restored: Restored, studies: EmbeddedSplit, scores: Float[np.ndarray, "N N"], query: Sequence[str], target: str
) -> Figure | None:
    """Draw the queries whose target ranks best and worst, each with its target and the candidates that score highest.

    Candidates are the query's study and the studies of other patients, as in the report.

    Args:
        restored: restored checkpoint, whose plugins draw.
        studies: the N studies that were scored.
        scores: scores of query i against every study in row i, with its target in column i.
        query: query modalities; those whose plugins cannot draw are left out.
        target: modality that was retrieved.

    Returns:
        The figure, or None if the plugins of the target or of all query modalities cannot draw.
    """
    plugins = restored.data.modalities
    shown = [name for name in query if isinstance(plugins[name], Imputable)]
    if not shown or not isinstance(plugins[target], Imputable):
        return None
    by_id = {study.study_id: study for study in restored.data.studies(studies.split)}
    lines = example_cells(studies, scores, shown, target)
    columns = max(map(len, lines))
    figure = Figure(figsize=(2.7 * columns, 2.3 * len(lines) + 0.4), dpi=110, layout="constrained")
    for line, grid in zip(lines, figure.subplots(len(lines), columns, squeeze=False), strict=True):
        for cell, axes in zip_longest(line, grid):
            if cell is None:
                axes.set_visible(False)
            else:
                _draw(cell, by_id[cell.study_id], plugins[cell.modality], axes)
    title = f"Queries whose {target} ranks best and worst"
    figure.suptitle(f"{title}. Green: of the same study; orange: of another patient", fontsize=9, x=0.01, ha="left")
    return figure


def example_cells(
    studies: EmbeddedSplit, scores: Float[np.ndarray, "N N"], query: Sequence[str], target: str
) -> list[list[Cell | None]]:
    """Return a line for each example: its query modalities, None where it lacks one, its target, and candidates."""
    ranks = place_among_all(scores, studies.patient_ids).ranks()
    patients = np.array(studies.patient_ids)
    order = [int(row) for row in np.argsort(ranks, kind="stable")]
    lines: list[list[Cell | None]] = []
    for row in dict.fromkeys([*order[:_BEST], *order[-_WORST:]]):
        eligible = np.flatnonzero((patients != patients[row]) | (np.arange(len(patients)) == row))
        first = eligible[np.argsort(-scores[row, eligible], kind="stable")][:_FIRST_CANDIDATES]
        study_id = studies.study_ids[row]
        asked = [
            Cell(study_id=study_id, modality=name, title=f"query {study_id}: {name}") if present else None
            for name, present in ((name, bool(studies.present[name][row])) for name in query)
        ]
        own = Cell(
            study_id=study_id,
            modality=target,
            title=f"its {target}: place {ranks[row]:g} of {len(eligible)}",
            frame=_MATCH,
        )
        found = [
            Cell(
                study_id=studies.study_ids[column], modality=target, frame=_MATCH if column == row else _OTHER,
                title=f"place {place}: {studies.study_ids[column]}",
            )
            for place, column in enumerate(first, 1)
        ]  # fmt: skip
        lines.append([*asked, own, *found])
    return lines


def _draw(cell: Cell, study: Study, plugin: Modality, axes: Axes) -> None:
    """Draw the prepared source of a study, as the encoder gets it."""
    assert isinstance(plugin, Imputable)
    inputs = plugin.collate([plugin.prepare(plugin.read(study.sources[cell.modality]))])
    plugin.draw({key: value[0] for key, value in inputs.items()}, axes)
    axes.set_title(cell.title, fontsize=8)
    axes.tick_params(labelsize=6)
    axes.xaxis.label.set_fontsize(7)
    axes.yaxis.label.set_fontsize(7)
    if cell.frame is not None:
        axes.set_axis_on()
        for spine in axes.spines.values():
            spine.set(visible=True, color=cell.frame, linewidth=2)
