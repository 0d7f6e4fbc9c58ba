"""``polyclinic evaluate zeroshot``: findings from prompts."""

from pathlib import Path

import torch

from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.metrics.auroc import roc_curve
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.evaluation.tables import as_json, print_zero_shot
from polyclinic.evaluation.zeroshot import zero_shot_report
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
        checkpoint: of a contrastive run.
        prompts: versioned prompt file.
        cohort: in place of the one trained on.
        split: which studies.
        query: modalities that speak; all but the prompts' own unless set.
        complete: only studies that have every query modality, instead of those that have any.
        resamples: of patients, for the intervals.
        seed: of the resamples.
        allow_overlap: whether to measure on studies that were seen before, too, and say so.
        json: file to write the report to.
    """
    restored, file = restore(checkpoint, cohort=cohort), load_prompts(prompts)
    scorer = ZeroShotScorer(restored, file, query)
    overlap = check_overlap(restored, split, allowed=allow_overlap)
    names = list(scorer.modalities)
    everyone = scorer.read(split)
    present = torch.stack([everyone.present[name] for name in names])
    rows = present.all(dim=0) if complete else present.any(dim=0)
    if not rows.any():
        raise ValueError(f"no study has the query modalities {names}; set `--query`")
    studies = everyone.select(rows)
    scores = scorer.scores(studies, names)
    report = zero_shot_report(
        scores=scores, labels=studies.outcomes, patient_ids=studies.patient_ids, findings=scorer.findings,
        resamples=resamples, seed=seed, spreads=list(scorer.spreads(studies).values()),
    )  # fmt: skip
    curves = {
        finding.name: (*roc_curve(scores[:, place], studies.outcomes[:, place])[:2], finding.auroc)
        for place, finding in enumerate(report.findings)
        if finding.auroc == finding.auroc
    }
    console = Console()
    print_zero_shot(report, console)
    settings = {"query": names, "split": split, "complete": complete, "prompts_sha256": file.sha256}
    write_report(
        restored, "zeroshot", {**as_json(report), **settings}, {f"{split}/zeroshot_macro_auroc": report.macro_auroc},
        {"zeroshot_roc": roc_curves(curves)} if curves else {}, json, overlap=overlap,
    )  # fmt: skip
    print_next("polyclinic", "evaluate", "card", "--checkpoint", checkpoint, "--prompts", prompts)
