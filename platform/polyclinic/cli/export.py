"""``polyclinic bundle export``: from a checkpoint, prompts and a cohort to a folder that a hospital can run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli
from safetensors.torch import save

from polyclinic import __version__
from polyclinic.cli.report import check_overlap
from polyclinic.deploy.bundle import Bundle, BundleContent, Origin, load_bundle, write_files
from polyclinic.deploy.bundle.files import CARD, CONTENT, LICENCES, WEIGHTS, pack, refuse_used, unpack
from polyclinic.deploy.bundle.format import FORMAT, NOT_A_DEVICE, Prompts
from polyclinic.deploy.bundle.load import DRAWS, MEAN, TEXTS, WHITENING, OODReference
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.scorers import Scorable, ZeroShotScorer
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

LARGEST_LOSS = 0.005
"""Of macro AUROC on validation, by which fewer bytes may cost."""

_FAMILIAR_STUDIES = 2048
_SAME = 1e-3


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    auto_cli(export, args=list(argv), prog="polyclinic bundle export", as_positional=False, exit_on_error=False)


def export(
    checkpoint: Path,
    prompts: Path,
    out: Path,
    cohort: Path | None = None,
    name: str | None = None,
    query: list[str] | None = None,
    split: str = "test",
    text_encoder: bool = True,
    weights: str = "float32",
    intended_use: str = "Research on retrospective data, in the hands of people who can read the files themselves.",
    licence: str = "not stated; ask the group that made it",
    alpha: float = 0.1,
    minimum: int = 20,
    resamples: int = 200,
    seed: int = 0,
    allow_overlap: bool = False,
) -> None:
    """Write a bundle: polyclinic bundle export --checkpoint last.ckpt --prompts prompts.yaml --out bundle

    Args:
        checkpoint: of a contrastive run.
        prompts: versioned prompt file.
        out: a new or empty folder.
        cohort: in place of the one trained on.
        name: of the bundle; that of its folder unless set.
        query: modalities that may speak; all but the prompts' own unless set.
        split: whose performance the model card tells; calibration and thresholds come from ``val``.
        text_encoder: whether to put the encoder of the prompts inside, so that findings can be added.
        weights: how matrices are stored: ``float32``, ``bfloat16`` or ``int8``, as far as macro AUROC on ``val`` loses
            no more than 0.005.
        intended_use: for the model card.
        licence: of the bundle.
        alpha: share of each class that a prediction set may miss.
        minimum: studies that a subgroup needs.
        resamples: of patients, for the intervals.
        seed: of everything random.
        allow_overlap: whether to measure on studies that were seen before, too, and say so.
    """
    refuse_used(out)
    if split == "val":
        raise ValueError("got split 'val', from which thresholds and calibration come; set `--split` to another")
    console, restored, file = Console(), restore(checkpoint, cohort=cohort), load_prompts(prompts)
    task = restored.task_of(ContrastivePretraining)
    overlap = check_overlap(restored, split, "val", allowed=allow_overlap)
    names = (*ZeroShotScorer(restored, file, query).modalities, *([file.modality] if text_encoder else []))
    packed = pack(weights_of(task.state_dict(), names), weights)
    console.print("encoding the validation split")
    scorer, validation = _packed_scorer(restored, file, query, unpack(packed), weights)
    console.print(f"calibrating {2 ** len(scorer.modalities) - 1} sets of modalities")
    rules = learn_rules(scorer, validation, alpha=alpha, resamples=resamples, seed=seed)
    console.print(f"encoding the splits train and {split}")
    familiar = _familiar(restored, task, validation, scorer.modalities)
    performance = measure(scorer, scorer.read(split), rules.rules, minimum=minimum, resamples=resamples, seed=seed)
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
        limits={one: known.limit for one, known in familiar.items()},
        performance={one.result.name: _told(one) for one in performance},
    )
    population, statements, sizes = restored.data.cohort.population, tuple(overlap.statements), _splits(restored)
    facts = CardFacts(split=split, population=population, splits=sizes, overlap=statements, resamples=resamples)
    files = {
        WEIGHTS: save({**packed, **_tensors(scorer, rules, familiar)}),
        CONTENT: content.as_bytes(),
        CARD: render(content, performance, facts).encode(),
        LICENCES: licence_list(licence).encode(),
    }
    digest = write_files(out, files, lambda whole: _check_same(load_bundle(whole), scorer, validation))
    size = sum(len(one) for one in files.values()) / 1e6
    console.print(f"bundle: {out} ({size:.1f} MB, {digest[:12]})", soft_wrap=True, markup=False)
    print_next("polyclinic", "score", out, "--help")


def _packed_scorer(
    restored: Restored, file: PromptFile, query: list[str] | None, weights: dict[str, torch.Tensor], kind: str
) -> tuple[ZeroShotScorer, Scorable]:
    """What scores with the weights that the bundle will hold, and the validation split as they encode it.

    Raises:
        ValueError: they lose too much.
    """
    task = restored.task_of(ContrastivePretraining)
    exact = ZeroShotScorer(restored, file, query)
    validation = exact.read("val")
    if kind == "float32":
        return exact, validation
    before = exact.scores(validation, exact.modalities)
    task.load_state_dict({**task.state_dict(), **weights})
    scorer = ZeroShotScorer(restored, file, query)
    validation = scorer.read("val")
    whole, less = (
        macro_mean(auroc_per_column(one, validation.outcomes)).mean
        for one in (before, scorer.scores(validation, scorer.modalities))
    )
    if whole - less > LARGEST_LOSS:
        raise ValueError(
            f"got weights {kind} with macro AUROC {less:.4f} on validation, {whole:.4f} in float32: they lose more "
            f"than {LARGEST_LOSS}; set `--weights float32`"
        )
    return scorer, validation


def _familiar(
    restored: Restored, task: ContrastivePretraining, validation: Scorable, names: tuple[str, ...]
) -> dict[str, OODReference]:
    loader = restored.data.loader("train")
    batches = islice(loader, -(-_FAMILIAR_STUDIES // max(1, loader.batch_size or 1)))
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


def _told(one: Performance) -> dict[str, Any]:
    result = one.result
    known = result.auroc == result.auroc
    return {
        "auroc": {"value": result.auroc, "low": result.ci95.low, "high": result.ci95.high} if known else None,
        "n": result.n,
        "n_positive": result.n_positive,
    }


def _splits(restored: Restored) -> tuple[Split, ...]:
    cohort = restored.data.cohort
    told = []
    for name in ("train", "val", "test"):
        studies = cohort.split(name)
        present = {
            one: sum(one in study.sources for study in studies) / max(1, len(studies)) for one in cohort.modalities
        }
        patients = len({study.patient_id for study in studies})
        told.append(Split(name=name, studies=len(studies), patients=patients, present=present))
    return tuple(told)


def _tensors(scorer: ZeroShotScorer, rules: Rules, familiar: dict[str, OODReference]) -> dict[str, torch.Tensor]:
    """What a bundle holds beside the model's weights."""
    tensors = {TEXTS: scorer.texts.clone(), DRAWS: torch.from_numpy(rules.draws).float()}
    for name, known in familiar.items():
        tensors |= {MEAN.format(name): known.mean, WHITENING.format(name): known.whitening}
    return {name: value.contiguous() for name, value in tensors.items()}


def _check_same(bundle: Bundle, scorer: ZeroShotScorer, validation: Scorable) -> None:
    """The bundle scores as the checkpoint did, or something of the model did not travel."""
    batch = validation.batches[0]
    told = StudyScorer(bundle).log_odds(batch.inputs, batch.present).numpy()
    apart = np.abs(told - scorer.scores(validation, scorer.modalities)[: len(batch)]).max()
    assert apart < _SAME, f"the bundle scores otherwise than its checkpoint, by {apart}"
