"""The chart has every used event in the series of its code, with the range of the source or of training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from polyclinic_timeline import Timeline
from polyclinic_timeline.drawing import series_of
from polyclinic_timeline.features import LastValues

ROWS = """time,code,value,unit,reference_low,reference_high
2024-01-01T08:00,sodium,131,mmol/L,135,145
2024-01-01T09:00,crp,12,mg/L,,
2024-01-01T10:00,sodium,138,mmol/L,135,145
2024-01-01T12:00,culture,positive,,,
"""


def course(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").write_text(ROWS)
    return Timeline().read(tmp_path / "a.csv")


def test_events_are_shown_with_the_range_that_belongs_to_them(tmp_path: Path) -> None:
    raw = course(tmp_path)
    timeline = Timeline()
    timeline.fit([raw, raw])
    view = timeline.view(raw).as_json()
    sodium, crp, culture = view["series"]
    assert sodium == {
        "name": "sodium", "unit": "mmol/L", "hours": [-4, -2], "values": [131, 138], "low": [135, 135],
        "high": [145, 145], "levels": [None, None],
    }  # fmt: skip
    assert (crp["name"], crp["values"], crp["low"], crp["high"]) == ("crp *", [12], [12], [12])
    assert (culture["name"], culture["values"], culture["levels"], culture["low"]) == (
        "culture", [None], ["positive"], [None],
    )  # fmt: skip
    assert view["caption"] == (
        "times count from the last event; * range: the middle 95 % of the training split, not that of a laboratory"
    )
    assert Timeline().view(raw).caption == "times count from the last event"


def test_values_in_two_units_are_two_series_and_a_text_is_in_the_first(tmp_path: Path) -> None:
    raw = Timeline().read(
        write(tmp_path, "glucose,,,haemolysed", "glucose,5.5,mmol/L,", "glucose,99,mg/dL,", "glucose,6,MMOL/L,")
    )
    series = Timeline().view(raw).as_json()["series"]
    assert [(each["name"], each["unit"], each["values"]) for each in series] == [
        ("glucose", "", [None]), ("glucose", "mmol/L", [5.5, 6]), ("glucose", "mg/dL", [99]),
    ]  # fmt: skip
    assert series[0]["levels"] == ["haemolysed"]


def write(tmp_path: Path, *events: str) -> Path:
    lines = [f"2024-01-01T0{hour}:00,{event}" for hour, event in enumerate(events)]
    (tmp_path / "b.csv").write_text("\n".join(["time,code,value,unit,text", *lines]))
    return tmp_path / "b.csv"


def test_relevance_goes_to_the_place_of_its_event(tmp_path: Path) -> None:
    raw = course(tmp_path)
    timeline = Timeline()
    timeline.fit([raw, raw])
    located = timeline.locate(raw, timeline.prepare(raw), torch.tensor([0.1, 0.2, 0.4, 0.3]))
    for strength, expected in zip(located.strength, ([0.25, 1.0], [0.5], [0.75]), strict=True):
        np.testing.assert_allclose(strength, expected)
    assert series_of(raw) == [[0, 2], [1], [3]]
    with pytest.raises(ValueError, match="relevance of 3 tokens"):
        timeline.locate(raw, timeline.prepare(raw), torch.ones(3))


def test_baseline_and_fixed_features_are_those_of_a_loop(tmp_path: Path) -> None:
    raw = course(tmp_path)
    timeline = Timeline(max_codes=4)
    timeline.fit([raw, raw])
    codes = timeline.state()["codes"]
    scale = timeline.state()["scales"]["sodium"]
    scores = [(value - scale["centre"]) / scale["spread"] for value in (131, 138)]
    row = timeline.baseline().learn([raw])([raw]).reshape(len(codes), 6)[codes.index("sodium")]
    np.testing.assert_allclose(
        row, [2, scores[1], np.mean(scores), scores[0], scores[1], (scores[1] - scores[0]) / 2], rtol=1e-12
    )
    features = LastValues(codes=4)(timeline.collate([timeline.prepare(raw)])).reshape(4, 4)
    place = codes.index("sodium")
    np.testing.assert_allclose(features[:, place], [scores[1], np.mean(scores), 1, np.log(3)], rtol=1e-5)
