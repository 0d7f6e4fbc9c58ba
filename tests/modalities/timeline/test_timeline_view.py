"""The view lists every used event, the latest of a code first, with the range of the source or of training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from polyclinic_timeline import Timeline
from polyclinic_timeline.drawing import display_order
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
    entries = timeline.view(raw).as_json()["entries"]
    assert [(entry["name"], entry["value"], entry["level"]) for entry in entries] == [
        ("sodium, 2.0 h before", 138, None),
        ("sodium, 4.0 h before", 131, None),
        ("crp, 3.0 h before *", 12, None),
        ("culture, 0.0 h before *", None, "positive"),
    ]
    assert [(entry["low"], entry["high"]) for entry in entries] == [(135, 145), (135, 145), (12, 12), (None, None)]


def test_relevance_goes_to_the_row_of_its_event(tmp_path: Path) -> None:
    raw = course(tmp_path)
    timeline = Timeline()
    timeline.fit([raw, raw])
    located = timeline.locate(raw, timeline.prepare(raw), torch.tensor([0.1, 0.2, 0.4, 0.3]))
    np.testing.assert_allclose(located.strength, [1.0, 0.25, 0.5, 0.75])
    assert display_order(raw) == [2, 0, 1, 3]
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
