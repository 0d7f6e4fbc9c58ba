"""Scores of a trained head: contributions from no input to all, intervals, levels, and abstention of estimates."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from polyclinic.deploy.bundle import Bundle, EstimateRule, Label, load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.scoring.estimates import estimate_score
from polyclinic.deploy.scoring.reading import read_study, why_unused
from polyclinic.deploy.service.workers.model_worker import describe
from polyclinic.nn import LinearPath

RULE = EstimateRule(studies=50, patients=40, error=(2.0, 1.5, 2.5), guess=4.0, half_width=3.0, problem=None)
AGE = Label(name="age", kind="level", names=["young", "middle", "old"], unit="", center=0.0, scale=1.0)
MASS = Label(name="mass", kind="quantity", names=[], unit="kg", center=70.0, scale=10.0)


@pytest.fixture(scope="module")
def bundle(head_made: Path) -> Bundle:
    return load_bundle(head_made / "bundle")


@pytest.fixture(scope="module")
def study(bundle: Bundle, head_made: Path) -> dict[str, Any]:
    cohort = head_made / "cohort"
    names = {path.stem for path in (cohort / "ecg").iterdir()} & {path.stem for path in (cohort / "tabular").iterdir()}
    name = sorted(names)[0]
    files = {kind: next((cohort / kind).glob(f"{name}*")) for kind in bundle.query}
    files["ecg"] = files["ecg"].with_suffix(".hea")
    return dict(read_study(bundle, files).items)


@pytest.mark.parametrize("names", [("ecg", "tabular"), ("ecg",), ("tabular",)])
def test_contributions_add_up_to_the_score_minus_that_from_no_input(
    names: tuple[str, ...], bundle: Bundle, study: dict[str, Any]
) -> None:
    scorer = StudyScorer(bundle)
    record = scorer.score([{name: study[name] for name in names}])[0]
    nothing = scorer._values(scorer.encode(*scorer._collated([{}])))[0, 0].tolist()
    assert max(map(abs, nothing)) > 0.01, "a head has learned an output for no input"
    answers = [*((one, one.score) for one in record.findings), *((one, one.value) for one in record.estimates)]
    for (answer, value), without in zip(answers, nothing, strict=True):
        assert set(answer.contributions) == set(names)
        assert sum(answer.contributions.values()) == pytest.approx(value - without, abs=1e-9)


def test_a_bundle_whose_network_has_no_share_has_no_maps_and_says_so(
    bundle: Bundle, study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle.model.linear_path
    assert path is not None
    assert set(StudyScorer(bundle).relevance(study, "anemia")) == set(study)
    monkeypatch.setitem(path._buffers, "share", torch.zeros(()))
    monkeypatch.setitem(path._buffers, "fitted", torch.ones_like(path.fitted))
    assert StudyScorer(bundle).relevance(study, "anemia") == {}
    assert describe(bundle).card["evidence"] == (
        "There are no maps: a linear model makes the scores of the model, without its neural network."
    )
    monkeypatch.setitem(path._buffers, "fitted", torch.zeros_like(path.fitted))
    assert set(StudyScorer(bundle).relevance(study, "anemia")) == set(study)


def test_estimates_have_the_rule_of_the_modalities_of_the_study(bundle: Bundle, study: dict[str, Any]) -> None:
    assert bundle.content.head is not None
    record = StudyScorer(bundle).score([{"tabular": study["tabular"]}])[0]
    assert [finding.name for finding in record.findings] == bundle.findings
    assert [(estimate.name, estimate.unit) for estimate in record.estimates] == [("age", ""), ("hemoglobin", "g/dL")]
    for estimate in record.estimates:
        rule = bundle.content.head.estimates["tabular"][estimate.name]
        assert estimate.error == rule.error
        assert estimate.abstained == (estimate.reason is not None)
    hemoglobin = record.estimates[1]
    width = bundle.content.head.estimates["tabular"]["hemoglobin"].half_width
    assert width is not None
    assert hemoglobin.interval == pytest.approx((hemoglobin.value - width, hemoglobin.value + width))


def test_a_study_out_of_distribution_has_no_reliable_estimate(bundle: Bundle, study: dict[str, Any]) -> None:
    near = {name: replace(reference, limit=0.0) for name, reference in bundle.familiar.items()}
    record = StudyScorer(replace(bundle, familiar=near)).score([study])[0]
    for answer in (*record.findings, *record.estimates):
        assert answer.abstained
        assert answer.reason == "ecg and tabular are unlike the studies that the model was trained on"


@pytest.mark.parametrize("name", ["rhythm=AF", "hemoglobin"])
def test_findings_and_estimates_are_explained(name: str, head_made: Path, study: dict[str, Any]) -> None:
    bundle = load_bundle(head_made / "bundle")
    path = bundle.model.linear_path
    assert isinstance(path, LinearPath)
    path.share.fill_(0.5)  # maps are those of the network, to which validation may have left no share
    relevance = StudyScorer(bundle).relevance(study, name)
    assert set(relevance) == {"ecg", "tabular"}
    assert any(bool((value != 0).any()) for value in relevance.values())
    with pytest.raises(ValueError, match="got finding 'asthma', expected one of"):
        StudyScorer(bundle).relevance(study, "asthma")


def test_a_modality_that_was_left_out_of_the_query_is_reported(bundle: Bundle) -> None:
    part = replace(bundle, content=replace(bundle.content, query=["ecg"]))
    assert why_unused(part, "tabular") == "tabular was excluded from the input modalities when the bundle was exported"


@pytest.mark.parametrize(
    ("value", "level", "interval"),
    [(0.2, "young", (0.0, 1.0)), (0.5, "middle", (0.0, 1.3)), (1.9, "old", (1.1, 2.0)), (2.0, "old", (1.2, 2.0))],
)
def test_a_level_is_named_and_its_interval_ends_at_the_levels(
    value: float, level: str, interval: tuple[float, float]
) -> None:
    estimate = estimate_score(AGE, value, replace(RULE, half_width=0.8), None, {})
    assert (estimate.level, estimate.levels) == (level, ("young", "middle", "old"))
    assert estimate.interval == pytest.approx(interval)


@pytest.mark.parametrize(
    ("unfamiliar", "problem", "reason"),
    [(None, None, None), (None, "too few", "too few"), ("ecg is unlike", "too few", "ecg is unlike")],
)
def test_an_estimate_abstains_with_its_reason(unfamiliar: str | None, problem: str | None, reason: str | None) -> None:
    estimate = estimate_score(MASS, 71.5, replace(RULE, problem=problem), unfamiliar, {"ecg": 1.5})
    assert (estimate.value, estimate.interval, estimate.unit) == (71.5, (68.5, 74.5), "kg")
    assert (estimate.abstained, estimate.reason) == (reason is not None, reason)


def test_without_enough_studies_there_is_no_interval() -> None:
    assert estimate_score(MASS, 71.5, replace(RULE, half_width=None), None, {}).interval is None
