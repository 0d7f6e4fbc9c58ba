"""``polyclinic evaluate zeroshot``: classify findings by prompts."""

from pathlib import Path

import torch

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.metrics.auroc import roc_curve
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.evaluation.tables import as_json, print_zero_shot
from polyclinic.evaluation.zeroshot import zero_shot_report
from polyclinic.files.results import refuse_unwritable
from polyclinic.prompts import load_prompts
from polyclinic.system.terminal import Console
from polyclinic.tracking import roc_curves
from polyclinic.training.restore import restore


def zeroshot(
    checkpoint: Path,
    prompts: Path,
    options: ReportOptions,
    query: list[str] | None = None,
    complete: bool = False,
) -> None:
    """Classify findings by prompts: polyclinic evaluate zeroshot last.ckpt demo/prompts.yaml

    Args:
        checkpoint: checkpoint of a contrastive run.
        prompts: versioned prompt file.
        options: studies to evaluate, and the file for the report.
        query: input modalities; all but the prompt modality unless set.
        complete: whether to require all input modalities of a study, instead of any.
    """
    refuse_unwritable(options.json)
    restored, file = restore(checkpoint, cohort=options.cohort), load_prompts(prompts)
    scorer = ZeroShotScorer(restored, file, query)
    overlap = check_overlap(restored, options.split, allowed=options.allow_overlap)
    names = list(scorer.modalities)
    split_studies = scorer.read(options.split)
    present = torch.stack([split_studies.present[name] for name in names])
    rows = present.all(dim=0) if complete else present.any(dim=0)
    if not rows.any():
        raise ValueError(f"no study has the input modalities {names}; set `--query`")
    studies = split_studies.select(rows)
    scores = scorer.scores(studies, names)
    report = zero_shot_report(
        scores=scores, labels=studies.outcomes, patient_ids=studies.patient_ids, findings=scorer.findings,
        resamples=options.resamples, seed=options.seed, spreads=list(scorer.spreads(studies).values()),
    )  # fmt: skip
    curves = {
        finding.name: (*roc_curve(scores[:, column], studies.outcomes[:, column])[:2], finding.auroc)
        for column, finding in enumerate(report.findings)
        if finding.auroc == finding.auroc  # NaN without both classes
    }
    console = Console()
    print_zero_shot(report, console)
    settings = {"query": names, "split": options.split, "complete": complete, "prompts_sha256": file.sha256}
    write_report(
        restored, "zeroshot", {**as_json(report), **settings},
        {f"{options.split}/zeroshot_macro_auroc": Estimate(report.macro_auroc, report.macro_ci95)},
        {"zeroshot_roc": roc_curves(curves)} if curves else {}, options.json, overlap=overlap,
        following=("polyclinic", "evaluate", "card", checkpoint, "--prompts", prompts),
    )  # fmt: skip
