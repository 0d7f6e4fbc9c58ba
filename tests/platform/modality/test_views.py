import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from polyclinic.modality.views import (
    LONGEST_SIDE,
    Axis,
    Courses,
    Entry,
    OnCourses,
    OnPicture,
    OnRows,
    OnTraces,
    OnWords,
    Picture,
    Rows,
    Series,
    Traces,
    Words,
)


def test_a_picture_is_a_png_of_exactly_its_pixels() -> None:
    grey = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)
    report = Picture(grey=grey, caption="as it is", up=Axis(name="depth", unit="cm", ticks=((0.5, 3.0),))).as_json()
    stored = Image.open(BytesIO(base64.b64decode(report.pop("png"))))
    assert (stored.format, stored.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(stored), grey)
    assert report == {
        "kind": "picture",
        "height": 6,
        "width": 4,
        "caption": "as it is",
        "across": None,
        "up": {"name": "depth", "unit": "cm", "ticks": ((0.5, 3.0),)},
    }


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (LONGEST_SIDE + 1, 3), (3, LONGEST_SIDE + 1)])
def test_a_picture_that_no_screen_can_show_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{shape[0]} x {shape[1]} pixels, expected sides of 1 to 1024"):
        Picture(grey=np.zeros(shape, np.uint8), caption="")


def test_traces_are_written_in_hundredths_with_null_for_missing_samples() -> None:
    values = np.array([[0.123, -0.001, np.nan], [np.inf, 1e-9, -2.0]])
    traces = Traces(values=values, names=("a", "b"), unit="mV", rate=250, caption="all of it", paper=(0.2, 0.5))
    assert json.loads(json.dumps(traces.as_json(), allow_nan=False)) == {
        "kind": "traces",
        "names": ["a", "b"],
        "unit": "mV",
        "rate": 250.0,
        "values": [[0.12, 0.0, None], [None, 0.0, -2.0]],
        "caption": "all of it",
        "paper": {"seconds": 0.2, "unit": 0.5},
    }
    assert "-0.0" not in json.dumps(traces.as_json())


def test_a_lead_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 names for 2 leads"):
        Traces(values=np.zeros((2, 3)), names=("a",), unit="mV", rate=1.0, caption="")


def test_rows_have_four_significant_digits_and_mark_missing_values() -> None:
    entries = (
        Entry(name="tiny", value=0.000123456, unit="g", low=1234567.0, high=np.nan),
        Entry(name="none"),
        Entry(name="sex", level="F"),
    )
    report = Rows(entries=entries, caption="from somewhere").as_json()
    empty = {"unit": "", "value": None, "low": None, "high": None, "level": None}
    assert report == {
        "kind": "rows",
        "entries": [
            {**empty, "name": "tiny", "unit": "g", "value": 0.0001235, "low": 1235000.0},
            {**empty, "name": "none"},
            {**empty, "name": "sex", "level": "F"},
        ],
        "caption": "from somewhere",
    }


def test_courses_mark_missing_values_and_ends() -> None:
    series = Series(
        name="sodium", unit="mmol/L", hours=np.array([-1.005, 0.0]), values=np.array([131.256, np.nan]),
        low=np.array([135.0, np.nan]), high=np.array([np.nan, np.nan]), levels=(None, "haemolysed"),
    )  # fmt: skip
    assert json.loads(json.dumps(Courses(series=(series,), caption="all").as_json(), allow_nan=False)) == {
        "kind": "courses",
        "series": [
            {
                "name": "sodium", "unit": "mmol/L", "hours": [-1.0, 0.0], "values": [131.3, None], "low": [135, None],
                "high": [None, None], "levels": [None, "haemolysed"],
            }
        ],
        "caption": "all",
    }  # fmt: skip
    assert OnCourses(strength=(np.array([1 / 3]),)).as_json() == {"kind": "courses", "strength": [[0.333]]}
    with pytest.raises(ValueError, match=r"got \[1, 1, 1, 1, 2\] times"):
        Series(name="a", unit="", levels=(None, None), **dict.fromkeys(("hours", "values", "low", "high"), np.ones(1)))


def test_words_join_to_the_text() -> None:
    report = Words(words=("No", "\n\neffusion."), caption="all").as_json()
    assert report == {"kind": "words", "words": ["No", "\n\neffusion."], "caption": "all"}


def test_relevance_is_written_by_kind_in_thousandths() -> None:
    strength = np.array([[1 / 3, 1.0]])
    assert OnPicture(strength=strength, across=(0.0, 1.5)).as_json() == {
        "kind": "grid",
        "strength": [[0.333, 1.0]],
        "across": [0.0, 1.5],
    }
    assert OnTraces(strength=strength, seconds=(-2.0, 8.0)).as_json() == {
        "kind": "stretches",
        "strength": [[0.333, 1.0]],
        "seconds": [-2.0, 8.0],
    }
    assert OnRows(strength=strength[0]).as_json() == {"kind": "rows", "strength": [0.333, 1.0]}
    assert OnWords(strength=strength[0]).as_json() == {"kind": "words", "strength": [0.333, 1.0]}
