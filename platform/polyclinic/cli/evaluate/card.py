"""``polyclinic evaluate card``: write an evaluation card of a checkpoint as HTML and JSON."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from json import dumps
from pathlib import Path

import numpy as np
from jaxtyping import Float

from polyclinic import __version__
from polyclinic.cli.evaluate.baseline import compare_if_possible
from polyclinic.cli.options import SplitOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.baseline.report import BaselineReport
from polyclinic.evaluation.card.build import build_card
from polyclinic.evaluation.card.content import Origin
from polyclinic.evaluation.card.explaining import relevance_pictures
from polyclinic.evaluation.card.figures import card_figures
from polyclinic.evaluation.card.page import render
from polyclinic.evaluation.scorers import Scorer, TrainedScorer, ZeroShotScorer
from polyclinic.evaluation.tables import as_json
from polyclinic.files.atomic import atomic_folder
from polyclinic.files.digest import file_sha256
from polyclinic.files.results import refuse_used_folder
from polyclinic.prompts import PromptFile, load_prompts
from polyclinic.system.terminal import Console, remark
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import commit_of
from polyclinic.training.restore import Restored, restore


def card(
    checkpoint: Path,
    options: SplitOptions,
    prompts: Path | None = None,
    out: Path = Path("card"),
    query: list[str] | None = None,
    against: Path | None = None,
    alpha: float = 0.1,
    minimum: int = 20,
    thresholds: tuple[float, ...] = (),
    explained: int = 6,
    studies: list[str] | None = None,
    baseline: bool = True,
) -> None:
    """Write an evaluation card: polyclinic evaluate card last.ckpt --prompts prompts.yaml --out card

    ``card.html`` is self-contained; ``card.json`` has all of its numbers, and more.

    Args:
        checkpoint: checkpoint of a contrastive or a downstream run.
        options: studies to evaluate.
        prompts: versioned prompt file, required for a contrastive run.
        out: new or empty folder.
        query: input modalities; all but the prompt modality unless set.
        against: checkpoint of another run with the same findings, for comparison.
        alpha: share of each class that a prediction set may miss.
        minimum: smallest number of studies of a subgroup.
        thresholds: probabilities at which to report sensitivity and specificity, besides those selected on validation.
        explained: number of studies to explain: the best and the worst case of each finding in turn.
        studies: ids of the studies to explain, instead.
        baseline: whether to compare a trained head with simple models, and state the result first; every file is then
            read again.

    Raises:
        ValueError: an input or setting is invalid, or studies overlap with training.
    """
    refuse_used_folder(out)
    if options.split == "val":
        raise ValueError("got split 'val', from which thresholds and calibration come; set `--split` to another split")
    console, restored = Console(), restore(checkpoint, cohort=options.cohort)
    file = load_prompts(prompts) if prompts is not None else None
    scorer = _scorer(restored, file, query)
    overlap = check_overlap(restored, options.split, "val", allowed=options.allow_overlap)
    remark(f"encoding the splits val and {options.split}")
    validation, test = scorer.read("val"), scorer.read(options.split)
    other_scores = _other_scores(against, options.cohort, file, query, scorer, options.split, options.allow_overlap)
    settings = {
        "split": options.split, "resamples": options.resamples, "seed": options.seed, "alpha": alpha,
        "minimum": minimum, "against": file_sha256(against) if against is not None else None,
    }  # fmt: skip
    remark("measuring")
    started = time.monotonic()
    content = build_card(
        scorer, restored.encoders, validation, test, other_scores, _origin(restored, checkpoint, file, settings),
        alpha=alpha, minimum=minimum, stated=thresholds, resamples=options.resamples, seed=options.seed,
        explained=explained if studies is None else studies,
    )  # fmt: skip
    compared: tuple[BaselineReport | None, str] = (None, "")
    if baseline and isinstance(scorer, TrainedScorer):
        compared = compare_if_possible(restored, options)
    content = replace(content, notes=(*overlap.statements, *filter(None, [compared[1]]), *content.notes))
    remark("drawing")
    figures = card_figures(content, scorer, test)
    pictures = relevance_pictures(scorer, restored.encoders, restored.data.modalities, test, content.explanations)
    page, record = render(content, figures, pictures), as_json(content)
    record["baseline"] = None if compared[0] is None else as_json(compared[0])
    record |= {"overlap": overlap.as_record(), "seconds_after_encoding": round(time.monotonic() - started, 1)}
    _write(out, page, record)
    write_report(
        restored, "card", record, {f"{options.split}/card_macro_auroc": content.macro.auroc},
        {f"card_{name}": figure for name, figure in figures.items()}, None, overlap=overlap, page=page,
    )  # fmt: skip
    console.print(
        f"macro AUROC {content.macro.auroc.value:.3f} over {content.macro.used} of {content.macro.total} findings, "
        f"{len(content.notes)} notes"
    )
    console.print(f"card: {out / 'card.html'}", soft_wrap=True)
    remark("next: open it in a browser; it needs no network")


def _scorer(restored: Restored, prompts: PromptFile | None, query: list[str] | None) -> Scorer:
    if not isinstance(restored.task, ContrastivePretraining):
        trained = TrainedScorer(restored, query)
        if not trained.findings:
            raise ValueError(
                f"got a checkpoint of {list(restored.data.labels)}, expected findings or classes; use "
                "`polyclinic evaluate classifier`"
            )
        return trained
    if prompts is None:
        raise ValueError("got a contrastive checkpoint without prompts; set `--prompts` to a prompt file")
    return ZeroShotScorer(restored, prompts, query)


def _other_scores(
    against: Path | None,
    cohort: Path | None,
    prompts: PromptFile | None,
    query: list[str] | None,
    scorer: Scorer,
    split: str,
    allow_overlap: bool,
) -> Float[np.ndarray, "N F"] | None:
    """Return scores of another run on the same studies; None without one."""
    if against is None:
        return None
    restored = restore(against, cohort=cohort)
    other = _scorer(restored, prompts, query)
    if other.findings != scorer.findings:
        raise ValueError(
            f"got {against.name} with findings {list(other.findings)}, expected {list(scorer.findings)}; set "
            "`--against` to a run of the same findings"
        )
    check_overlap(restored, split, allowed=allow_overlap)
    return other.scores(other.read(split), other.modalities)


def _origin(restored: Restored, checkpoint: Path, prompts: PromptFile | None, settings: Mapping[str, object]) -> Origin:
    return Origin(
        task=type(restored.task).__name__,
        checkpoint_sha256=file_sha256(checkpoint),
        run_id=restored.run_id,
        trained_on=restored.trained_on,
        cohort=restored.data.cohort.name,
        fingerprint=restored.data.cohort.fingerprint,
        commit=commit_of(Path(__file__).parent),
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        label_policy=asdict(restored.data.label_policy),
        prompts=_prompts_record(prompts),
        settings=dict(settings),
    )


def _prompts_record(prompts: PromptFile | None) -> dict[str, object] | None:
    if prompts is None:
        return None
    return {
        "file": prompts.name, "sha256": prompts.sha256, "score_rule": prompts.score_rule,
        "templates": prompts.templates,
        "findings": {name: asdict(phrases) for name, phrases in prompts.findings.items()},
    }  # fmt: skip


def _write(out: Path, page: str, record: Mapping[str, object]) -> None:
    """Write both files or, after an error, neither."""
    with atomic_folder(out) as partial:
        (partial / "card.html").write_text(page, encoding="utf-8")
        (partial / "card.json").write_text(dumps(record, indent=1), encoding="utf-8")
