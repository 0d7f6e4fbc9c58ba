"""Measurements and statements of a cart as columns, for the patient of ``benchmarks.cart_files``."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.cart_files import STATEMENT, WRITERS

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import cart_facts

SIGNAL = np.random.default_rng(0).normal(0, 0.3, (12, 500))
INTERVALS = {"pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 400.0}
AXES = {"p_axis_deg": 40.0, "qrs_axis_deg": -12.0, "t_axis_deg": 33.0}
RATE = {"heart_rate_bpm": 61.0}
AXIS = {"qrs_axis_deg": -12.0}
MACHINE = {"statements": STATEMENT, "statements_by": "machine"}


def written(name: str, folder: Path) -> Path:
    write, suffix, _ = WRITERS[name]
    write(folder / f"study{suffix}", SIGNAL, 500)
    return folder / f"study{suffix}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ge-muse-xml", {**RATE, **INTERVALS, **AXES, "qtc_ms": 410.0, **MACHINE}),
        ("hl7-aecg", {**RATE, "pr_ms": 160.0, "qt_ms": 400.0, **AXIS, **MACHINE}),
        ("philips-sierra-xml", {**RATE, **INTERVALS, **AXIS, **MACHINE}),
        ("mortara-xml", {**RATE, **INTERVALS, **AXIS, "qtc_ms": 410.0, **MACHINE}),
        ("scp-ecg", {"rr_ms": 984.0, **INTERVALS, **AXES, **MACHINE}),
        ("edf", {}),
        ("ishne", {}),
        ("mfer", {}),
        ("csv", {}),
    ],
)
def test_every_format_gives_what_it_stores(name: str, expected: dict[str, object], tmp_path: Path) -> None:
    assert cart_facts(written(name, tmp_path)) == expected


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("<PRInterval>160<", "<PRInterval>0<", "pr_ms"),
        ("<QTInterval>400<", "<QTInterval>29999<", "qt_ms"),
        ("<RAxis>-12<", "<RAxis>-999<", "qrs_axis_deg"),
        ("<QTCorrected>410<", "<QTCorrected>none<", "qtc_ms"),
        ("<VentricularRate>61<", "<VentricularRate><", "heart_rate_bpm"),
    ],
)
def test_what_was_not_measured_is_left_out(old: str, new: str, missing: str, tmp_path: Path) -> None:
    source = written("ge-muse-xml", tmp_path)
    before = cart_facts(source)
    source.write_text(source.read_text().replace(old, new))
    assert cart_facts(source) == {name: value for name, value in before.items() if name != missing}
    assert missing in before


def test_statements_of_a_physician_are_told_from_those_of_the_cart(tmp_path: Path) -> None:
    source = written("ge-muse-xml", tmp_path)
    source.write_text(source.read_text().replace("<TestDemographics>", "<TestDemographics><Status>CONFIRMED</Status>"))
    assert cart_facts(source)["statements_by"] == "confirmed"


def test_the_stated_correction_of_qt_is_kept_apart(tmp_path: Path) -> None:
    source = written("mortara-xml", tmp_path)
    source.write_text(source.read_text().replace('QTC="410"', 'QTC="410" QTB="415" QTF="405"'))
    facts = cart_facts(source)
    assert [facts[f"qtc{name}_ms"] for name in ("", "_bazett", "_fridericia")] == [410.0, 415.0, 405.0]


def test_a_file_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    source = written("scp-ecg", tmp_path)
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(UnreadableSource, match="SCP-ECG"):
        cart_facts(source)
