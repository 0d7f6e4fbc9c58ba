"""How good a model is: zero-shot AUROC, retrieval, and intervals over patients; pure functions over scores."""

from polyclinic.evaluation.auroc import Macro, RocCurve, auroc, auroc_per_column, macro_mean, roc_curve
from polyclinic.evaluation.intervals import (
    Interval,
    mean_interval,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
    weighted_mean,
)
from polyclinic.evaluation.prompts import Phrasings, PromptFile, load_prompts
from polyclinic.evaluation.retrieval import (
    Accuracy,
    RetrievalReport,
    RetrievalResult,
    ScoreRows,
    retrieval_among,
    retrieval_report,
)
from polyclinic.evaluation.tables import as_json, print_retrieval, print_zero_shot
from polyclinic.evaluation.zeroshot import (
    FindingResult,
    ZeroShotReport,
    finding_scores,
    prompt_spread,
    zero_shot_report,
)

__all__ = [
    "Accuracy",
    "FindingResult",
    "Interval",
    "Macro",
    "Phrasings",
    "PromptFile",
    "RetrievalReport",
    "RetrievalResult",
    "RocCurve",
    "ScoreRows",
    "ZeroShotReport",
    "as_json",
    "auroc",
    "auroc_per_column",
    "finding_scores",
    "load_prompts",
    "macro_mean",
    "mean_interval",
    "patient_resamples",
    "percentile_interval",
    "print_retrieval",
    "print_zero_shot",
    "prompt_spread",
    "retrieval_among",
    "retrieval_report",
    "roc_curve",
    "weighted_auroc",
    "weighted_mean",
    "zero_shot_report",
]
