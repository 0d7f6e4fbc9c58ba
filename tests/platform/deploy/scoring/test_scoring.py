"""Scores of a study: what each modality adds, how probabilities are calibrated, and when no decision is given."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration
from sklearn.covariance import LedoitWolf

from polyclinic.cli import main
from polyclinic.deploy.bundle import Bundle, DecisionRule, load_bundle
from polyclinic.deploy.bundle.load import OODReference
from polyclinic.deploy.bundle.rules import probability_intervals
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.scoring.reading import read_study
from polyclinic.deploy.scoring.scorer import _finding, _reason, coalitions, shapley_weights
from polyclinic.evaluation import patient_resamples
from polyclinic.evaluation.metrics.platt import smoothed_platt
from polyclinic.export.calibrate import _of_finding
from polyclinic.export.familiarity import learn_ood_reference

RULE = DecisionRule(
    positives=50, negatives=50, auroc=(0.9, 0.8, 0.95), slope=2.0, intercept=-1.0, threshold=0.4, absent_up_to=0.2,
    present_from=-0.2, problem=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture(scope="module")
def study(bundle: Bundle, study_files: dict[str, Path]) -> dict[str, Any]:
    return dict(read_study(bundle, {name: study_files[name] for name in bundle.query})[0])


def _with_one_rule(bundle: Bundle, **changes: Any) -> StudyScorer:
    """Return a scorer with one rule for every subset and finding, and no study out of distribution."""
    rule = replace(RULE, **changes)
    rules = {key: dict.fromkeys(bundle.findings, rule) for key in bundle.content.rules}
    near = {name: replace(reference, limit=1e9) for name, reference in bundle.familiar.items()}
    draws = np.broadcast_to(np.array([2.0, -1.0]), bundle.draws.shape).copy()
    return StudyScorer(replace(bundle, content=replace(bundle.content, rules=rules), familiar=near, draws=draws))


def test_contributions_are_the_mean_gain_over_all_orders_of_arrival() -> None:
    values = torch.randn(2**4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0] = 0.0
    expected = [
        np.mean(
            [
                float(values[sum(1 << member for member in order[: order.index(player) + 1])])
                - float(values[sum(1 << member for member in order[: order.index(player)])])
                for order in permutations(range(4))
            ]
        )
        for player in range(4)
    ]
    np.testing.assert_allclose(shapley_weights(4) @ values, expected, atol=1e-14)
    assert coalitions(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]


@pytest.mark.parametrize("names", [("ecg", "tabular", "xray"), ("ecg", "xray"), ("tabular",)])
def test_contributions_add_up_to_the_score(names: tuple[str, ...], bundle: Bundle, study: dict[str, Any]) -> None:
    record = StudyScorer(bundle).score([{name: study[name] for name in names}])[0]
    assert tuple(name for name, use in record.modalities.items() if use.used) == names
    for finding in record.findings:
        assert set(finding.contributions) == set(names)
        assert sum(finding.contributions.values()) == pytest.approx(finding.score, abs=1e-12)
    assert max(abs(finding.score) for finding in record.findings) > 0.01


def test_a_study_scores_the_same_alone_and_in_any_batch(bundle: Bundle, study: dict[str, Any], made: Path) -> None:
    studies = [dict(read_study(bundle, {"xray": path})[0]) for path in sorted((made / "cohort" / "xray").iterdir())[:5]]
    scorer = StudyScorer(bundle)
    expected = [finding.score for finding in scorer.score([study])[0].findings]
    for batch in ([study, *studies], [*studies, study]):
        row = batch.index(study)
        scores = [finding.score for finding in scorer.score(batch)[row].findings]
        np.testing.assert_allclose(scores, expected, atol=1e-11)


def test_a_probability_uses_the_calibration_of_the_input_modalities(bundle: Bundle, study: dict[str, Any]) -> None:
    record = StudyScorer(bundle).score([{"xray": study["xray"]}])[0]
    for finding in record.findings:
        rule = bundle.content.rules["xray"][finding.name]
        assert finding.auroc == rule.auroc
        if rule.slope is not None and rule.intercept is not None:
            assert finding.probability == pytest.approx(expit(rule.slope * finding.score + rule.intercept), abs=1e-12)
        else:
            assert finding.probability is None


@pytest.mark.public_report(1)
@pytest.mark.parametrize(
    ("changes", "possible"),
    [
        ({"absent_up_to": -9e9, "present_from": -9e9, "threshold": 1.0}, "present"),
        ({"absent_up_to": 9e9, "present_from": 9e9, "threshold": 0.0}, "absent"),
    ],
)
def test_a_threshold_that_contradicts_the_prediction_set_abstains(
    changes: dict[str, Any], possible: str, bundle: Bundle, study: dict[str, Any]
) -> None:
    for finding in _with_one_rule(bundle, **changes).score([study])[0].findings:
        assert (finding.decision, finding.abstained, finding.possible) == (None, True, (possible,))
        assert "but the prediction set holds only" in (finding.reason or "")


@pytest.mark.public_report(1)
@pytest.mark.parametrize(("positives", "negatives", "distance"), [(40, 200, 1.5), (40, 200, 2.5), (10, 200, 3.0)])
def test_decisions_agree_with_probability_and_prediction_set(positives: int, negatives: int, distance: float) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([1.0, 0.0], [positives, negatives])
    weights = patient_resamples([str(row) for row in range(len(labels))], 64, 0)
    rule, _ = _of_finding(rng.normal(distance * labels), labels, weights, 0.1)
    scores = rng.normal(size=2000) + distance * (rng.random(2000) < positives / len(labels))
    record = [_finding("x", score, rule, _reason(rule, score, (), 0.1), None, {}) for score in scores.tolist()]
    decisions = [finding for finding in record if finding.decision is not None]
    assert len(decisions) > 500
    assert all(finding.possible == (finding.decision,) and not finding.abstained for finding in decisions)
    assert all((finding.probability >= finding.threshold) == (finding.decision == "present") for finding in decisions)
    assert all(finding.reason for finding in record if finding.abstained)


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        ({"absent_up_to": -9e9, "present_from": -9e9, "threshold": 0.0}, "present", None),
        ({"absent_up_to": 9e9, "present_from": 9e9, "threshold": 1.1}, "absent", None),
        ({"absent_up_to": None, "present_from": None}, None, "both classes"),
        ({"absent_up_to": -9e9, "present_from": 9e9}, None, "neither class"),
        ({"problem": "too thin"}, None, "too thin"),
        ({"absent_up_to": -9e9, "present_from": -9e9, "threshold": None}, None, "no threshold"),
        ({"absent_up_to": -9e9, "present_from": -9e9, "slope": None}, None, None),
    ],
)  # fmt: skip
def test_a_decision_is_given_where_one_class_is_possible_and_abstains_otherwise(
    changes: dict[str, Any], decision: str | None, reason: str | None, bundle: Bundle, study: dict[str, Any]
) -> None:
    for finding in _with_one_rule(bundle, **changes).score([study])[0].findings:
        assert (finding.decision, finding.abstained) == (decision, decision is None)
        assert reason is None or reason in str(finding.reason)


def test_a_study_unlike_the_training_studies_gets_no_decision(bundle: Bundle, study: dict[str, Any]) -> None:
    scorer = _with_one_rule(bundle, absent_up_to=-9e9, present_from=-9e9)
    near = {**scorer.bundle.familiar, "ecg": replace(scorer.bundle.familiar["ecg"], limit=1e-6)}
    record = StudyScorer(replace(scorer.bundle, familiar=near)).score([study])[0]
    assert [name for name, use in record.modalities.items() if use.out_of_distribution] == ["ecg"]
    assert all(finding.abstained and "ecg is unlike" in str(finding.reason) for finding in record.findings)
    assert record.notes == ("ecg is unlike the studies that the model was trained on",)


def test_noise_in_place_of_an_x_ray_is_out_of_distribution_and_a_training_study_is_not(
    bundle: Bundle, made: Path
) -> None:
    scorer = StudyScorer(bundle)
    plugin = bundle.modalities["xray"]
    paths = sorted((made / "cohort" / "xray").iterdir())
    results = [scorer.score([{"xray": plugin.prepare(plugin.read(path))}])[0].modalities["xray"] for path in paths[:20]]
    assert sum(result.out_of_distribution for result in results) <= 4
    noise = {"image": torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0)) * 5}
    assert scorer.score([{"xray": noise}])[0].modalities["xray"].out_of_distribution


def test_the_gate_is_that_of_the_objective(bundle: Bundle, study: dict[str, Any]) -> None:
    record = StudyScorer(bundle).score([study])[0].modalities
    _, embedded = bundle.model("ecg", {key: _to_double(value)[None] for key, value in study["ecg"].items()})
    assert record["ecg"].gate == pytest.approx(float(bundle.model.objective.gates({"ecg": embedded})["ecg"]), abs=1e-9)  # type: ignore[operator]
    assert record["tabular"].gate is None
    assert StudyScorer(bundle).score([{"xray": study["xray"]}])[0].modalities["ecg"].gate is None


def _to_double(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value


def test_relevance_is_reported_for_each_token_of_the_available_modalities(
    bundle: Bundle, study: dict[str, Any]
) -> None:
    record = StudyScorer(bundle).relevance({"xray": study["xray"], "ecg": study["ecg"]}, "cardiomegaly")
    assert {name: len(value) for name, value in record.items()} == {"ecg": 10, "xray": 16}
    assert all(bool((value >= 0).all()) and float(value.sum()) > 0 for value in record.values())
    with pytest.raises(ValueError, match="got finding 'gout'"):
        StudyScorer(bundle).relevance(study, "gout")


def test_the_distance_is_that_of_mahalanobis_with_ledoit_and_wolfs_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    train = (
        torch.randn(200, 5, generator=generator, dtype=torch.float64) @ torch.randn(5, 5, generator=generator).double()
    )
    validation = train[:50] + 0.1
    learned = learn_ood_reference({"a": train}, {"a": validation})["a"]
    fitted = LedoitWolf().fit(train.numpy())
    expected = [mahalanobis(row, fitted.location_, fitted.precision_) / np.sqrt(5) for row in validation.numpy()]
    np.testing.assert_allclose(learned.distance(validation), expected, rtol=1e-10)
    assert learned.limit == pytest.approx(np.quantile(expected, 0.99), rel=1e-9)
    with pytest.raises(ValueError, match="expected at least 10"):
        learn_ood_reference({"a": train[:3]}, {"a": validation})
    assert isinstance(learned, OODReference)


def test_calibration_equals_scikit_learns_with_platts_smoothing_in_every_resample() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(3, 20, 80), (rng.random(80) < 0.3).astype(float)
    scores += 15 * labels
    labels[::9] = np.nan
    weights = rng.integers(0, 3, size=(70, 80))
    lines = smoothed_platt(scores, labels, weights)
    labelled = ~np.isnan(labels)
    for row in (0, 1, 69):
        a, b = _sigmoid_calibration(
            scores[labelled], labels[labelled], sample_weight=weights[row, labelled].astype(float)
        )
        np.testing.assert_allclose(lines[row], [-a, -b], rtol=2e-3)
        assert (
            _loss(lines[row], scores, labels, weights[row])
            <= _loss(np.array([-a, -b]), scores, labels, weights[row]) + 1e-9
        )
    assert np.isnan(smoothed_platt(scores, np.ones(80), weights)).all()
    assert np.isnan(smoothed_platt(np.ones(80), labels, weights)).all()
    separated = smoothed_platt(np.arange(80.0), (np.arange(80) > 40).astype(float), np.ones((1, 80)))
    assert np.isfinite(separated).all()


def _loss(line: np.ndarray, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    labelled = ~np.isnan(labels)
    values, truth, counts = scores[labelled], labels[labelled] == 1, weights[labelled]
    positives, negatives = counts[truth].sum(), counts[~truth].sum()
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    linear = line[0] * values + line[1]
    return float((counts * (np.logaddexp(0, linear) - target * linear)).sum())


def test_intervals_are_quantiles_over_the_calibrations_that_could_be_fitted() -> None:
    rng = np.random.default_rng(0)
    draws, scores = rng.normal(size=(3, 41, 2)), rng.normal(size=3)
    draws[1, :10] = np.nan
    draws[2, :30] = np.nan
    record = probability_intervals(scores, draws)
    for place in (0, 1):
        fitted = draws[place][~np.isnan(draws[place]).any(axis=1)]
        expected = np.quantile(expit(fitted[:, 0] * scores[place] + fitted[:, 1]), [0.025, 0.975])
        np.testing.assert_allclose(record[place], expected, atol=1e-12)  # type: ignore[arg-type]
    assert record[2] is None


def _score(*words: object) -> int:
    return main(["score", *map(str, words)])


def test_the_command_scores_any_files_of_a_study(
    bundle_folder: Path, bundle: Bundle, study: dict[str, Any], study_files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    words = [word for name in ("xray", "tabular", "report") for word in (f"--{name}", study_files[name])]
    assert _score(bundle_folder, *words, "--json", out) == 0
    record = json.loads(out.read_text())
    expected = StudyScorer(bundle).score([{name: study[name] for name in ("xray", "tabular")}])[0]
    assert record["findings"] == json.loads(json.dumps(expected.as_json()["findings"]))
    assert record["notes"] == ["report is the prompt modality, so it is not used as input"]
    assert record["bundle"] == bundle.digest


def test_a_cohort_is_scored_like_each_of_its_studies_and_a_broken_file_is_reported(
    bundle_folder: Path, bundle: Bundle, study: dict[str, Any], study_files: dict[str, Path], made: Path, tmp_path: Path
) -> None:
    table = (made / "cohort" / "cohort.csv").read_text()
    study_id = study_files["xray"].stem
    rows = table.splitlines()
    other_rows = [row for row in rows[1:] if ",test," in row and not row.startswith(study_id)][:3]
    intact = next(row for row in rows if row.startswith(study_id))
    broken = intact.replace(study_id + ",", "S999,", 1).replace(f"xray/{study_id}.dcm", "broken.dcm")
    for name in ("ecg", "report", "tabular", "xray"):
        (tmp_path / name).symlink_to(made / "cohort" / name)
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    (tmp_path / "cohort.csv").write_text("\n".join([rows[0], *other_rows, intact, broken]) + "\n")
    (tmp_path / "cohort.yaml").write_text((made / "cohort" / "cohort.yaml").read_text())
    assert _score(bundle_folder, "--cohort", tmp_path / "cohort.yaml", "--json", tmp_path / "out.json") == 0
    record = {report["study_id"]: report for report in json.loads((tmp_path / "out.json").read_text())["studies"]}
    assert list(record) == [row.split(",")[0] for row in other_rows] + [study_id, "S999"]
    expected = StudyScorer(bundle).score([study])[0].as_json()["findings"]
    for finding, expected_finding in zip(record[study_id]["findings"], expected, strict=True):
        assert finding["score"] == pytest.approx(expected_finding["score"], abs=1e-10)
    assert record["S999"]["modalities"]["xray"]["problem"]
    assert record["S999"]["notes"][0].startswith("xray could not be read")
    assert not record["S999"]["modalities"]["xray"]["used"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "got files of [] and cohort None"),
        (("--report", "{report}"), "expected some of ['ecg', 'tabular', 'xray']"),
        (("--xray", "nowhere.dcm"), "the file of xray does not exist"),
        (("--xray", "{tabular}"), "xray: "),
        (("--mri", "{xray}"), "got option --mri"),
        (("--xray", "{xray}", "--json", "{xray}/a.json"), "expected a file that can be written"),
        (("--xray", "{xray}", "--cohort", "{xray}"), "expected one of the two"),
        (("--cohort", "nowhere.yaml"), "nowhere.yaml"),
        (("--xray", "{xray}", "--prompts", "nowhere.yaml"), "does not exist"),
    ],
)
def test_input_that_cannot_be_scored_is_reported_in_one_sentence(
    words: tuple[str, ...],
    message: str,
    bundle_folder: Path,
    study_files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _score(bundle_folder, *(word.format(**study_files) for word in words)) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_a_bundle_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _score(tmp_path, "--xray", "a.dcm") == 1
    assert "without SHA256SUMS" in capsys.readouterr().err
    assert _score(tmp_path / "nowhere") == 1
    assert "is not a folder" in capsys.readouterr().err
