import json
from io import StringIO
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score

from polyclinic.evaluation import ZeroShotReport, as_json, finding_scores, print_zero_shot, prompt_spread
from polyclinic.evaluation import zero_shot_report as build_report

RNG = np.random.default_rng(0)
POSITIVE, NEGATIVE = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 5))


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Return scores and labels of three findings, the first with unknown labels."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, (120, 3)).astype(float)
    scores = 0.8 * labels + rng.normal(size=(120, 3))
    labels[:10, 0] = np.nan
    return scores, labels


def small_report(**changes: Any) -> ZeroShotReport:
    """Build a report on the planted scores, in which no study has the second finding."""
    scores, labels = planted()
    labels[:, 1] = 0.0
    given: dict[str, Any] = {
        "scores": scores,
        "labels": labels,
        "patient_ids": [f"p{row // 2}" for row in range(120)],
        "findings": ["edema", "fracture", "effusion"],
        "resamples": 300,
        "seed": 0,
    }
    return build_report(**{**given, **changes})


def test_difference_is_of_the_mean_scores() -> None:
    expected = [sum(p) / 3 - sum(q) / 5 for p, q in zip(POSITIVE.tolist(), NEGATIVE.tolist(), strict=True)]
    np.testing.assert_allclose(finding_scores(POSITIVE, NEGATIVE, "difference"), expected, atol=1e-12)


def test_softmax_is_the_log_odds_of_the_positive_share() -> None:
    log_odds = finding_scores(torch.tensor(POSITIVE), torch.tensor(NEGATIVE), "softmax")
    for study, value in enumerate(log_odds):
        # Repeated to fifteen sentences per side, so that the number of sentences does not favour either side.
        logits = torch.tensor([*np.tile(POSITIVE[study], 5), *np.tile(NEGATIVE[study], 3)])
        share = torch.softmax(logits, dim=0)[:15].sum()
        assert 1 / (1 + np.exp(-value)) == pytest.approx(share.item(), abs=1e-12)


def test_softmax_does_not_tie_confident_studies() -> None:
    scores = finding_scores(np.array([[60.0], [80.0], [900.0]]), np.zeros((3, 1)), "softmax")
    assert list(scores) == [60.0, 80.0, 900.0]


def test_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"'argmax', expected one of .*set `score_rule`"):
        finding_scores(POSITIVE, NEGATIVE, "argmax")


def test_spread_is_over_single_pairs() -> None:
    labels = np.r_[np.zeros(20), np.ones(20)]
    singles = [roc_auc_score(labels, p - q) for p in POSITIVE.T for q in NEGATIVE.T]
    assert prompt_spread(POSITIVE, NEGATIVE, labels) == pytest.approx(np.std(singles), abs=1e-12)
    assert prompt_spread(POSITIVE[:, :1], NEGATIVE[:, :1], labels) == 0.0
    assert np.isnan(prompt_spread(POSITIVE, NEGATIVE, np.zeros(40)))


def test_report_counts_and_leaves_undefined_findings_out_of_the_mean() -> None:
    report = small_report()
    edema, fracture, effusion = report.findings
    assert (edema.n, fracture.n, fracture.n_positive) == (110, 120, 0)
    assert np.isnan(fracture.auroc)
    assert fracture.undefined_resamples == 300
    assert report.findings_used == 2
    assert report.macro_auroc == pytest.approx((edema.auroc + effusion.auroc) / 2, abs=1e-12)
    assert (report.studies, report.patients, report.macro_ci95.undefined) == (120, 60, 0)
    for value, interval in ((edema.auroc, edema.ci95), (report.macro_auroc, report.macro_ci95)):
        assert interval.low < value < interval.high


def test_accuracy_is_at_the_prompts_own_threshold() -> None:
    scores = np.array([[0.5], [2.0], [-0.1], [-3.0], [1.0], [0.0]])
    labels = np.array([[1.0], [0.0], [1.0], [0.0], [np.nan], [0.0]])
    report = small_report(scores=scores, labels=labels, patient_ids=list("abcdef"), findings=["edema"])
    (edema,) = report.findings
    assert edema.accuracy == pytest.approx(3 / 5)
    assert edema.accuracy_ci95.low < 3 / 5 < edema.accuracy_ci95.high
    unknown = small_report(
        scores=scores, labels=np.full((6, 1), np.nan), patient_ids=list("abcdef"), findings=["edema"]
    )
    assert np.isnan(unknown.findings[0].accuracy)


def test_the_interval_of_the_mean_needs_all_its_findings() -> None:
    labels = np.zeros((40, 2))
    labels[0, 0] = 1.0
    labels[::2, 1] = 1.0
    report = small_report(
        scores=np.random.default_rng(0).normal(size=(40, 2)),
        labels=labels,
        patient_ids=[str(row) for row in range(40)],
        findings=["rare", "common"],
        resamples=500,
    )
    rare, common = report.findings
    # The only positive patient is left out of a resample with probability (1 - 1/40)^40 = 0.363.
    assert rare.undefined_resamples / 500 == pytest.approx(0.363, abs=0.07)
    assert common.undefined_resamples == 0
    assert report.macro_ci95.undefined == rare.undefined_resamples


def test_findings_do_not_compete() -> None:
    scores, labels = planted()
    together = small_report(scores=scores, labels=labels)
    shifted = small_report(scores=scores + np.array([0.0, 50.0, -50.0]), labels=labels)
    alone = small_report(scores=scores[:, 2:], labels=labels[:, 2:], findings=["effusion"])
    assert [f.auroc for f in shifted.findings] == pytest.approx([f.auroc for f in together.findings], abs=1e-12)
    assert alone.findings[0] == together.findings[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient_ids": ["a"]}, "1 patient ids for 120 studies"),
        ({"findings": ["edema", "edema", "effusion"]}, "one unique name"),
        ({"spreads": [0.1]}, "1 spreads for 3 findings"),
    ],
)
def test_lengths_must_agree(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_report(**change)


def test_json_has_null_for_nan_and_counts_it() -> None:
    report = as_json(small_report(spreads=[0.01, float("nan"), 0.02]))
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again == report
    fracture = again["findings"][1]
    assert (fracture["auroc"], fracture["prompt_spread"]) == (None, None)
    assert fracture["ci95"] == {"low": None, "high": None, "undefined": 0}
    assert again["undefined_values"] == 4
    assert again["findings"][0]["prompt_spread"] == 0.01


def test_table_shows_every_finding_and_a_dash_for_the_undefined() -> None:
    report = small_report()
    console = Console(file=StringIO(), width=140)
    print_zero_shot(report, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert f"{report.findings[0].auroc:.3f}" in lines["edema"]
    assert [cell.strip() for cell in lines["fracture"].split("│")[2:-1]] == [
        "-", "-", f"{report.findings[1].accuracy:.3f}", "120", "0", "300", "-",
    ]  # fmt: skip
    assert f"{report.macro_auroc:.3f}" in lines["mean of 2 of 3"]
