"""``polyclinic bundle export``: write a bundle from a checkpoint, its prompts if it is contrastive, and a cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from polyclinic import __version__
from polyclinic.cli.evaluate.baseline import verdict_if_possible
from polyclinic.cli.options import SplitOptions
from polyclinic.cli.report import check_overlap
from polyclinic.cohort.leakage.overlap import Overlap
from polyclinic.deploy.bundle import Bundle, BundleContent, Origin, load_bundle, write_files
from polyclinic.deploy.bundle.files import CARD, CONTENT, LICENCES, WEIGHTS, pack, unpack
from polyclinic.deploy.bundle.format import FORMAT, NOT_A_DEVICE
from polyclinic.deploy.bundle.load import DRAWS, MEAN, WHITENING, OODReference
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.scorers import Scorer
from polyclinic.export.calibrate import Rules, learn_rules
from polyclinic.export.constant_labels import label_notes
from polyclinic.export.familiarity import learn_ood_reference, pooled_vectors
from polyclinic.export.folds import FOLDS, FoldsRun, read_folds
from polyclinic.export.model_card import CardFacts, Performance, Split, licence_list, measure, render
from polyclinic.export.precision import quality, refuse_loss
from polyclinic.export.runs import Examples, ExportedRun, Sampling, exported_run
from polyclinic.files.digest import file_sha256
from polyclinic.files.results import refuse_used_folder
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console, remark
from polyclinic.tracking import commit_of
from polyclinic.training.restore import Restored, restore

_REFERENCE_STUDIES = 2048
_SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ExportOptions(SplitOptions):
    """Which studies to evaluate, and what the bundle and its card state.

    Args:
        name: name of the bundle; the name of its folder unless set.
        intended_use: intended use, for the model card.
        licence: licence of the bundle.
        minimum: smallest number of studies of a subgroup.
        baseline: whether to compare a trained head with simple models, and state the result in the bundle; every
            file is then read again.
    """

    name: str | None = None
    intended_use: str = "Research on retrospective data, in the hands of people who can read the files themselves."
    licence: str = "not stated; ask the group that made it"
    minimum: int = 20
    baseline: bool = True
    resamples: int = 200


def export(
    checkpoint: Path,
    options: ExportOptions,
    out: Path = Path("bundle"),
    prompts: Path | None = None,
    query: list[str] | None = None,
    text_encoder: bool = True,
    dtype: str = "float32",
    alpha: float = 0.1,
) -> None:
    """Write a classifier as a bundle: polyclinic bundle export best.ckpt --prompts prompts.yaml --out bundle

    Args:
        checkpoint: checkpoint of a contrastive run or of a trained head, or the report of `polyclinic crossval --json`,
            whose trained heads are averaged.
        options: split for the performance in the model card, and the other shared options.
        out: new or empty folder.
        prompts: versioned prompt file of a contrastive run; a trained head has none.
        query: input modalities; all but the prompt modality unless set.
        text_encoder: whether to include the encoder of the prompt modality, so that findings can be added; without
            effect for a trained head.
        dtype: storage type of matrices, ``float32``, ``bfloat16`` or ``int8``; refused if macro AUROC on ``val``
            drops by more than 0.005, or the error of a level or quantity grows by more than 2 %.
        alpha: share of each class that a prediction set may miss, and of the values that an interval may miss.

    Raises:
        ValueError: an input or setting is invalid, studies overlap with training, or the weights lose too much.
    """
    refuse_used_folder(out)
    _refuse_validation(options.split)
    console, checkpoints = Console(), _checkpoints(checkpoint, options)
    every = [restore(path, cohort=options.cohort) for path in checkpoints]
    restored = every[0]
    run: ExportedRun[Any] = (
        exported_run(restored, prompts, query, text_encoder=text_encoder)
        if checkpoint.suffix != FOLDS
        else FoldsRun(checkpoints, every, query)
    )
    overlaps = [check_overlap(each, options.split, "val", allowed=options.allow_overlap) for each in every]
    packed = pack(run.weights(), dtype)
    remark("encoding the validation split")
    scorer, validation = _packed_scorer(run, unpack(packed), dtype)
    _print_notes(label_notes(scorer, validation))
    remark(f"calibrating {2 ** len(scorer.modalities) - 1} sets of modalities")
    rules = learn_rules(scorer, validation, alpha=alpha, resamples=options.resamples, seed=options.seed)
    remark(f"encoding the splits train and {options.split}")
    references, test = _ood_references(restored, validation, scorer.modalities), scorer.read(options.split)
    performance = measure(
        scorer, test, rules.rules, minimum=options.minimum, resamples=options.resamples, seed=options.seed
    )
    sampling = Sampling(alpha=alpha, resamples=options.resamples, seed=options.seed)
    content = BundleContent(
        format=FORMAT,
        name=options.name or out.name,
        intended_use=options.intended_use,
        not_a_device=NOT_A_DEVICE,
        origin=_origin(restored, checkpoints[0]),
        architecture=run.architecture(dtype),
        prompts=run.prompts(),
        head=run.head(scorer, validation, test, sampling),
        query=list(scorer.modalities),
        alpha=alpha,
        rules=rules.rules,
        limits={modality: reference.limit for modality, reference in references.items()},
        performance={entry.result.name: _performance_record(entry) for entry in performance},
        baseline=verdict_if_possible(every, options) if options.baseline and run.prompts() is None else None,
    )
    files = {
        WEIGHTS: save({**packed, **_extra_tensors(run.tensors(scorer), rules, references)}),
        CONTENT: content.as_bytes(),
        CARD: render(content, performance, _card_facts(every, overlaps, options.split, options.resamples)).encode(),
        LICENCES: licence_list(options.licence).encode(),
    }
    examples = run.examples(scorer, validation)
    digest = write_files(out, files, lambda folder: _check_same_scores(load_bundle(folder), examples))
    console.print(f"bundle: {out} ({_megabytes(files)} MB, {digest[:12]})", soft_wrap=True, markup=False)
    print_next("polyclinic", "score", out, "--help")


def _checkpoints(given: Path, options: SplitOptions) -> list[Path]:
    if given.suffix != FOLDS:
        return [given]
    if options.cohort is not None or options.split != "test":
        raise ValueError(
            "got another cohort or split with folds, whose rules and performance come from the patients that each fold "
            "left out; leave out `--cohort` and `--split`"
        )
    return read_folds(given)


def _refuse_validation(split: str) -> None:
    if split == "val":
        raise ValueError("got split 'val', from which thresholds and calibration come; set `--split` to another split")


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        remark(f"note: {note}")


def _card_facts(every: Sequence[Restored], overlaps: Sequence[Overlap], split: str, resamples: int) -> CardFacts:
    splits = [
        replace(part, name=part.name if len(every) == 1 else f"{part.name} of fold {number}")
        for number, restored in enumerate(every)
        for part in _splits(restored)
    ]
    statements = dict.fromkeys(statement for overlap in overlaps for statement in overlap.statements)
    return CardFacts(
        split=split, population=every[0].data.cohort.population, splits=tuple(splits), overlap=tuple(statements),
        resamples=resamples,
    )  # fmt: skip


def _megabytes(files: Mapping[str, bytes]) -> str:
    return f"{sum(map(len, files.values())) / 1e6:.1f}"


def _packed_scorer(run: ExportedRun[Any], weights: dict[str, torch.Tensor], kind: str) -> tuple[Scorer, EmbeddedSplit]:
    """Return a scorer with the stored weights of the bundle, and the validation split encoded by it.

    Raises:
        ValueError: the stored weights lose too much; see ``refuse_loss``.
    """
    scorer: Scorer = run.scorer()
    validation = scorer.read("val")
    if kind == "float32":
        return scorer, validation
    exact = quality(scorer, validation)
    run.load(weights)
    scorer = run.scorer()
    validation = scorer.read("val")
    refuse_loss(kind, exact, quality(scorer, validation))
    return scorer, validation


def _ood_references(restored: Restored, validation: EmbeddedSplit, names: tuple[str, ...]) -> dict[str, OODReference]:
    loader, encoders = restored.data.loader("train"), restored.encoders
    batches = islice(loader, -(-_REFERENCE_STUDIES // max(1, loader.batch_size or 1)))
    return learn_ood_reference(
        pooled_vectors(encoders, batches, names), pooled_vectors(encoders, validation.batches, names)
    )


def _origin(restored: Restored, checkpoint: Path) -> Origin:
    return Origin(
        checkpoint_sha256=file_sha256(checkpoint),
        run_id=restored.run_id,
        trained_on=restored.trained_on,
        evaluated_on=restored.data.cohort.fingerprint,
        cohort=restored.data.cohort.name,
        commit=commit_of(Path(__file__).parent),
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _performance_record(performance: Performance) -> dict[str, Any]:
    result = performance.result
    is_known = result.auroc == result.auroc  # NaN without both classes
    return {
        "auroc": {"value": result.auroc, "low": result.ci95.low, "high": result.ci95.high} if is_known else None,
        "n": result.n,
        "n_positive": result.n_positive,
    }


def _splits(restored: Restored) -> tuple[Split, ...]:
    cohort = restored.data.cohort
    splits = []
    for name in ("train", "val", "test"):
        studies = cohort.split(name)
        present = {
            modality: sum(modality in study.sources for study in studies) / max(1, len(studies))
            for modality in cohort.modalities
        }
        patients = len({study.patient_id for study in studies})
        splits.append(Split(name=name, studies=len(studies), patients=patients, present=present))
    return tuple(splits)


def _extra_tensors(
    of_run: Mapping[str, torch.Tensor], rules: Rules, references: dict[str, OODReference]
) -> dict[str, torch.Tensor]:
    """Return the tensors of a bundle other than the model's weights."""
    tensors = {**of_run, DRAWS: torch.from_numpy(rules.draws).float()}
    for name, reference in references.items():
        tensors |= {MEAN.format(name): reference.mean, WHITENING.format(name): reference.whitening}
    return {name: value.contiguous() for name, value in tensors.items()}


def _check_same_scores(bundle: Bundle, examples: Examples) -> None:
    """Check that the written bundle scores like the checkpoints, so that no part of the model is missing."""
    outputs = StudyScorer(bundle).outputs(examples.inputs, examples.present).numpy()
    # A quantity far from zero is rounded to fewer decimals in float32.
    estimated = [label.scale + 1e-3 * abs(label.center) for label in bundle.estimated]
    scales = np.array([*np.ones(len(bundle.findings)), *estimated])
    difference = (np.abs(outputs - examples.outputs) / scales).max()
    assert difference < _SCORE_TOLERANCE, f"scores of the bundle and its checkpoint differ by {difference}"
