"""``polyclinic evaluate classifier``: measure a model trained on labels."""

from pathlib import Path
from typing import Any

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.metrics.agreement import agreement_report, binary_columns
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.scorers import chosen_query
from polyclinic.evaluation.supervised import predict_split
from polyclinic.evaluation.tables import as_json, print_agreement, print_zero_shot
from polyclinic.evaluation.zeroshot import zero_shot_report
from polyclinic.files.results import refuse_unwritable
from polyclinic.system.terminal import Console
from polyclinic.tasks import Downstream
from polyclinic.training.restore import restore


def classifier(
    checkpoint: Path,
    options: ReportOptions,
    query: list[str] | None = None,
) -> None:
    """Measure a model trained on labels: polyclinic evaluate classifier last.ckpt

    Args:
        checkpoint: checkpoint of a downstream run.
        options: studies to evaluate, and the file for the report.
        query: input modalities; all unless set.
    """
    refuse_unwritable(options.json)
    restored = restore(checkpoint, cohort=options.cohort)
    restored.task_of(Downstream)
    targets, console = restored.data.targets, Console()
    query = list(chosen_query(list(restored.data.modalities), query))
    overlap = check_overlap(restored, options.split, allowed=options.allow_overlap)
    predicted = predict_split(restored, options.split, query)
    outputs, labels, patients = predicted.outputs, predicted.labels, predicted.patient_ids
    scores, truth, names = binary_columns(outputs, labels, targets)
    agreement = agreement_report(
        predictions=outputs, labels=labels, targets=targets, patient_ids=patients, resamples=options.resamples,
        seed=options.seed,
    )  # fmt: skip
    content: dict[str, Any] = {"split": options.split, "query": query}
    metrics: dict[str, Estimate] = {}
    if names:
        report = zero_shot_report(
            scores=scores, labels=truth, patient_ids=patients, findings=names, resamples=options.resamples,
            seed=options.seed,
        )  # fmt: skip
        print_zero_shot(report, console, title="Classifier")
        content |= as_json(report)
        metrics[f"{options.split}/classifier_macro_auroc"] = Estimate(report.macro_auroc, report.macro_ci95)
    if agreement:
        print_agreement(agreement, console)
        content["agreement"] = [as_json(result) for result in agreement]
        metrics |= {
            f"{options.split}/{name.replace(' ', '_')}/{result.name}": measure
            for result in agreement
            for name, measure in result.measures.items()
        }
    write_report(
        restored, "classifier", content, metrics, {}, options.json, overlap=overlap,
        following=("polyclinic", "bundle", "export", checkpoint, "--out", "bundle"),
    )  # fmt: skip
