"""``polyclinic evaluate zeroshot``: classify findings by prompts."""

from pathlib import Path

import torch

from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.metrics.auroc import roc_curve
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.evaluation.tables import as_json, print_zero_shot
from polyclinic.evaluation.zeroshot import zero_shot_report
from polyclinic.files.results import refuse_unwritable
from polyclinic.prompts import load_prompts
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking import roc_curves
from polyclinic.training.restore import restore


def zeroshot(
    checkpoint: Path,
    prompts: Path,
    cohort: Path | None = None,
    split: str = "test",
    query: list[str] | None = None,
    complete: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    allow_overlap: bool = False,
    json: Path | None = None,
) -> None:
    """Classify findings by prompts: polyclinic evaluate zeroshot last.ckpt experiments/phantom/prompts.yaml

    Args:
        checkpoint: checkpoint of a contrastive run.
        prompts: versioned prompt file.
        cohort: cohort.yaml to use instead of the training cohort.
        split: split whose studies to evaluate.
        query: input modalities; all but the prompt modality unless set.
        complete: whether to require all input modalities of a study, instead of any.
        resamples: number of bootstrap resamples of patients, for the intervals.
        seed: seed of the resamples.
        allow_overlap: whether to include studies from training, and report the overlap.
        json: file for the report.
    """
    refuse_unwritable(json)
    restored, file = restore(checkpoint, cohort=cohort), load_prompts(prompts)
    scorer = ZeroShotScorer(restored, file, query)
    overlap = check_overlap(restored, split, allowed=allow_overlap)
    names = list(scorer.modalities)
    split_studies = scorer.read(split)
    present = torch.stack([split_studies.present[name] for name in names])
    rows = present.all(dim=0) if complete else present.any(dim=0)
    if not rows.any():
        raise ValueError(f"no study has the input modalities {names}; set `--query`")
    studies = split_studies.select(rows)
    scores = scorer.scores(studies, names)
    report = zero_shot_report(
        scores=scores, labels=studies.outcomes, patient_ids=studies.patient_ids, findings=scorer.findings,
        resamples=resamples, seed=seed, spreads=list(scorer.spreads(studies).values()),
    )  # fmt: skip
    curves = {
        finding.name: (*roc_curve(scores[:, column], studies.outcomes[:, column])[:2], finding.auroc)
        for column, finding in enumerate(report.findings)
        if finding.auroc == finding.auroc  # NaN without both classes
    }
    console = Console()
    print_zero_shot(report, console)
    settings = {"query": names, "split": split, "complete": complete, "prompts_sha256": file.sha256}
    write_report(
        restored, "zeroshot", {**as_json(report), **settings}, {f"{split}/zeroshot_macro_auroc": report.macro_auroc},
        {"zeroshot_roc": roc_curves(curves)} if curves else {}, json, overlap=overlap,
    )  # fmt: skip
    print_next("polyclinic", "evaluate", "card", "--checkpoint", checkpoint, "--prompts", prompts)
