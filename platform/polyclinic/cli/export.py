"""``polyclinic bundle export``: write a bundle from a checkpoint, prompts and a cohort."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from polyclinic import __version__
from polyclinic.cli.options import SplitOptions, run_command
from polyclinic.cli.report import check_overlap
from polyclinic.cohort.leakage.overlap import Overlap
from polyclinic.deploy.bundle import Bundle, BundleContent, Origin, load_bundle, write_files
from polyclinic.deploy.bundle.files import CARD, CONTENT, LICENCES, WEIGHTS, pack, refuse_used, unpack
from polyclinic.deploy.bundle.format import FORMAT, NOT_A_DEVICE, Prompts
from polyclinic.deploy.bundle.load import DRAWS, MEAN, TEXTS, WHITENING, OODReference
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.export.architecture import describe_architecture
from polyclinic.export.calibrate import Rules, learn_rules
from polyclinic.export.familiarity import learn_ood_reference, pooled_vectors
from polyclinic.export.model_card import CardFacts, Performance, Split, licence_list, measure, render
from polyclinic.files.digest import file_sha256
from polyclinic.models.zero_shot import weights_of
from polyclinic.prompts import PromptFile, load_prompts
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import commit_of
from polyclinic.training.restore import Restored, restore

MAX_AUROC_LOSS = 0.005
"""Largest loss of macro AUROC on validation by weights of lower precision."""

_REFERENCE_STUDIES = 2048
_SCORE_TOLERANCE = 1e-3


def main(argv: Sequence[str]) -> None:
    """Run the ``bundle export`` command."""
    run_command(export, argv, prog="polyclinic bundle export", as_positional=False, resamples=200)


def export(
    checkpoint: Path,
    prompts: Path,
    out: Path,
    options: SplitOptions,
    name: str | None = None,
    query: list[str] | None = None,
    text_encoder: bool = True,
    weights: str = "float32",
    intended_use: str = "Research on retrospective data, in the hands of people who can read the files themselves.",
    licence: str = "not stated; ask the group that made it",
    alpha: float = 0.1,
    minimum: int = 20,
) -> None:
    """Write a bundle: polyclinic bundle export --checkpoint last.ckpt --prompts prompts.yaml --out bundle

    Args:
        checkpoint: checkpoint of a contrastive run.
        prompts: versioned prompt file.
        out: new or empty folder.
        options: split for the performance in the model card, and the other shared options.
        name: name of the bundle; the name of its folder unless set.
        query: input modalities; all but the prompt modality unless set.
        text_encoder: whether to include the encoder of the prompt modality, so that findings can be added.
        weights: storage type of matrices, ``float32``, ``bfloat16`` or ``int8``; refused if macro AUROC on ``val``
            drops by more than 0.005.
        intended_use: intended use, for the model card.
        licence: licence of the bundle.
        alpha: share of each class that a prediction set may miss.
        minimum: smallest number of studies of a subgroup.

    Raises:
        ValueError: an input or setting is invalid, studies overlap with training, or the weights lose too much.
    """
    refuse_used(out)
    if options.split == "val":
        raise ValueError("got split 'val', from which thresholds and calibration come; set `--split` to another split")
    console, restored, file = Console(), restore(checkpoint, cohort=options.cohort), load_prompts(prompts)
    task = restored.task_of(ContrastivePretraining)
    overlap = check_overlap(restored, options.split, "val", allowed=options.allow_overlap)
    names = (*ZeroShotScorer(restored, file, query).modalities, *([file.modality] if text_encoder else []))
    packed = pack(weights_of(task.state_dict(), names), weights)
    console.print("encoding the validation split")
    scorer, validation = _packed_scorer(restored, file, query, unpack(packed), weights)
    console.print(f"calibrating {2 ** len(scorer.modalities) - 1} sets of modalities")
    rules = learn_rules(scorer, validation, alpha=alpha, resamples=options.resamples, seed=options.seed)
    console.print(f"encoding the splits train and {options.split}")
    references = _ood_references(restored, task, validation, scorer.modalities)
    performance = measure(
        scorer, scorer.read(options.split), rules.rules, minimum=minimum, resamples=options.resamples, seed=options.seed
    )
    content = BundleContent(
        format=FORMAT,
        name=name or out.name,
        intended_use=intended_use,
        not_a_device=NOT_A_DEVICE,
        origin=_origin(restored, checkpoint),
        architecture=describe_architecture(restored, names, weights),
        prompts=Prompts.of(file),
        query=list(scorer.modalities),
        alpha=alpha,
        rules=rules.rules,
        limits={modality: reference.limit for modality, reference in references.items()},
        performance={entry.result.name: _performance_record(entry) for entry in performance},
    )
    files = {
        WEIGHTS: save({**packed, **_extra_tensors(scorer, rules, references)}),
        CONTENT: content.as_bytes(),
        CARD: render(content, performance, _card_facts(restored, overlap, options.split, options.resamples)).encode(),
        LICENCES: licence_list(licence).encode(),
    }
    digest = write_files(out, files, lambda folder: _check_same_scores(load_bundle(folder), scorer, validation))
    console.print(f"bundle: {out} ({_megabytes(files)} MB, {digest[:12]})", soft_wrap=True, markup=False)
    print_next("polyclinic", "score", out, "--help")


def _card_facts(restored: Restored, overlap: Overlap, split: str, resamples: int) -> CardFacts:
    return CardFacts(
        split=split, population=restored.data.cohort.population, splits=_splits(restored),
        overlap=tuple(overlap.statements), resamples=resamples,
    )  # fmt: skip


def _megabytes(files: Mapping[str, bytes]) -> str:
    return f"{sum(map(len, files.values())) / 1e6:.1f}"


def _packed_scorer(
    restored: Restored, file: PromptFile, query: list[str] | None, weights: dict[str, torch.Tensor], kind: str
) -> tuple[ZeroShotScorer, EmbeddedSplit]:
    """Return a scorer with the stored weights of the bundle, and the validation split encoded by it.

    Raises:
        ValueError: the stored weights lose too much macro AUROC.
    """
    task = restored.task_of(ContrastivePretraining)
    exact = ZeroShotScorer(restored, file, query)
    validation = exact.read("val")
    if kind == "float32":
        return exact, validation
    exact_scores = exact.scores(validation, exact.modalities)
    task.load_state_dict({**task.state_dict(), **weights})
    scorer = ZeroShotScorer(restored, file, query)
    validation = scorer.read("val")
    exact_auroc, packed_auroc = (
        macro_mean(auroc_per_column(scores, validation.outcomes)).mean
        for scores in (exact_scores, scorer.scores(validation, scorer.modalities))
    )
    if exact_auroc - packed_auroc > MAX_AUROC_LOSS:
        raise ValueError(
            f"got weights {kind} with macro AUROC {packed_auroc:.4f} on validation, {exact_auroc:.4f} in float32, "
            f"expected a loss of at most {MAX_AUROC_LOSS}; set `--weights float32`"
        )
    return scorer, validation


def _ood_references(
    restored: Restored, task: ContrastivePretraining, validation: EmbeddedSplit, names: tuple[str, ...]
) -> dict[str, OODReference]:
    loader = restored.data.loader("train")
    batches = islice(loader, -(-_REFERENCE_STUDIES // max(1, loader.batch_size or 1)))
    return learn_ood_reference(pooled_vectors(task, batches, names), pooled_vectors(task, validation.batches, names))


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
    scorer: ZeroShotScorer, rules: Rules, references: dict[str, OODReference]
) -> dict[str, torch.Tensor]:
    """Return the tensors of a bundle other than the model's weights."""
    tensors = {TEXTS: scorer.texts.clone(), DRAWS: torch.from_numpy(rules.draws).float()}
    for name, reference in references.items():
        tensors |= {MEAN.format(name): reference.mean, WHITENING.format(name): reference.whitening}
    return {name: value.contiguous() for name, value in tensors.items()}


def _check_same_scores(bundle: Bundle, scorer: ZeroShotScorer, validation: EmbeddedSplit) -> None:
    """Check that the written bundle scores like the checkpoint, so that no part of the model is missing."""
    batch = validation.batches[0]
    scores = StudyScorer(bundle).log_odds(batch.inputs, batch.present).numpy()
    difference = np.abs(scores - scorer.scores(validation, scorer.modalities)[: len(batch)]).max()
    assert difference < _SCORE_TOLERANCE, f"scores of the bundle and its checkpoint differ by {difference}"
