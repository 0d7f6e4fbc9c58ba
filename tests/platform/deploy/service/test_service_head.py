"""The service with a bundle of a trained head."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from polyclinic.cli import main
from polyclinic.deploy.service.schemas import BundleCard, Scores
from service_process import Served, serving

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def service(head_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(head_made / "bundle", tmp_path_factory.mktemp("service"), "--per_minute", "0") as served:
        yield served


def test_the_card_lists_estimates_with_their_errors(service: Served) -> None:
    report = service.get("/v1/bundle").json()
    assert json.loads(BundleCard.model_validate(report).model_dump_json()) == report
    assert re.fullmatch(
        r"Evidence is that of the neural network of the model\. A linear model adds \d+% of a score\.",
        report["evidence"],
    )
    assert [finding["name"] for finding in report["findings"]] == [
        "anemia",
        "rhythm=sinus",
        "rhythm=AF",
        "rhythm=paced",
    ]
    assert [(row["name"], row["unit"], len(row["levels"])) for row in report["estimates"]] == [
        ("age", "", 3), ("hemoglobin", "g/dL", 0)
    ]  # fmt: skip
    assert all(row["error"]["low"] <= row["error"]["value"] <= row["error"]["high"] for row in report["estimates"])


def test_a_study_is_estimated_as_by_the_command_line_and_explained(
    service: Served, head_made: Path, tmp_path: Path
) -> None:
    file = next((head_made / "cohort" / "tabular").iterdir())
    report = service.score({"tabular": file}, explain="hemoglobin", views="true").json()
    schema = TypeAdapter(Scores)
    assert set(report) == {field.name for field in fields(Scores)}
    assert json.loads(schema.dump_json(schema.validate_python(report))) == report
    assert report["relevance"]["tabular"]
    record = str(tmp_path / "scores.json")
    assert main(["score", str(head_made / "bundle"), "--tabular", str(file), "--json", record]) == 0
    expected = json.loads(Path(record).read_text())["estimates"]
    assert [row["name"] for row in report["estimates"]] == ["age", "hemoglobin"]
    for row, other in zip(report["estimates"], expected, strict=True):
        assert row["value"] == pytest.approx(other["value"], rel=1e-9)
        assert row["interval"] == pytest.approx(other["interval"], rel=1e-9)
        assert row["reason"] == other["reason"]
    answer = service.score({"tabular": file}, explain="asthma")
    assert answer.status_code == 422
    assert "hemoglobin" in answer.json()["error"]["message"]
