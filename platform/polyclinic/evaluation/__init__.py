"""Evaluation of models: metrics, retrieval, probes, explanations and reports."""

from polyclinic.evaluation.explain import DeletionCurve, DeletionReport, deletion_curve, deletion_report
from polyclinic.evaluation.metrics.agreement import AgreementResult, agreement_report
from polyclinic.evaluation.metrics.auroc import Macro, RocCurve, auroc, auroc_per_column, macro_mean, roc_curve
from polyclinic.evaluation.metrics.average_precision import (
    average_precision,
    average_precision_per_column,
    weighted_average_precision,
)
from polyclinic.evaluation.metrics.comparison import Comparison, delong_test, delong_variance, paired_bootstrap
from polyclinic.evaluation.metrics.conformal import ConformalSets, conformal_report, conformal_sets
from polyclinic.evaluation.metrics.decision import DecisionCurve, decision_curve
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    estimate,
    mean_interval,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
    weighted_mean,
)
from polyclinic.evaluation.metrics.missingness import Contributions, contributions, missing_not_at_random
from polyclinic.evaluation.metrics.operating import OperatingPoint, Threshold, operating_points, operating_threshold
from polyclinic.evaluation.metrics.recalibration import calibration_report, fit_isotonic, fit_platt, fit_temperature
from polyclinic.evaluation.metrics.subgroups import SubgroupReport, subgroup_report
from polyclinic.evaluation.probing.neighbours import neighbour_scores
from polyclinic.evaluation.retrieval.candidates import (
    CandidateSetReport,
    CandidateSets,
    read_candidate_sets,
    retrieval_in_sets,
)
from polyclinic.evaluation.retrieval.linkage import LinkageReport, linkage_report, linkage_scores, one_to_one
from polyclinic.evaluation.retrieval.retrieval import (
    Accuracy,
    RetrievalReport,
    RetrievalResult,
    ScoreRows,
    retrieval_among,
    retrieval_report,
)
from polyclinic.evaluation.retrieval.variations import RankSpread, rank_spread
from polyclinic.evaluation.tables import as_json, print_retrieval, print_zero_shot
from polyclinic.evaluation.zeroshot import (
    FindingResult,
    ZeroShotReport,
    finding_scores,
    prompt_spread,
    zero_shot_report,
)
from polyclinic.nn.relevance import token_relevance
from polyclinic.prompts import Phrasings, PromptFile, load_prompts

__all__ = [
    "Accuracy",
    "AgreementResult",
    "CandidateSetReport",
    "CandidateSets",
    "Comparison",
    "ConformalSets",
    "Contributions",
    "DecisionCurve",
    "DeletionCurve",
    "DeletionReport",
    "Estimate",
    "FindingResult",
    "Interval",
    "LinkageReport",
    "Macro",
    "OperatingPoint",
    "Phrasings",
    "PromptFile",
    "RankSpread",
    "RetrievalReport",
    "RetrievalResult",
    "RocCurve",
    "ScoreRows",
    "SubgroupReport",
    "Threshold",
    "ZeroShotReport",
    "agreement_report",
    "as_json",
    "auroc",
    "auroc_per_column",
    "average_precision",
    "average_precision_per_column",
    "calibration_report",
    "conformal_report",
    "conformal_sets",
    "contributions",
    "decision_curve",
    "deletion_curve",
    "deletion_report",
    "delong_test",
    "delong_variance",
    "estimate",
    "finding_scores",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "linkage_report",
    "linkage_scores",
    "load_prompts",
    "macro_mean",
    "mean_interval",
    "missing_not_at_random",
    "neighbour_scores",
    "one_to_one",
    "operating_points",
    "operating_threshold",
    "paired_bootstrap",
    "patient_resamples",
    "percentile_interval",
    "print_retrieval",
    "print_zero_shot",
    "prompt_spread",
    "rank_spread",
    "read_candidate_sets",
    "retrieval_among",
    "retrieval_in_sets",
    "retrieval_report",
    "roc_curve",
    "subgroup_report",
    "token_relevance",
    "weighted_auroc",
    "weighted_average_precision",
    "weighted_mean",
    "zero_shot_report",
]
