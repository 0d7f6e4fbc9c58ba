"""Tables of leads over time: rate from even times, unit from the header, and one sentence for anything else."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.recording import LEADS

VALUES = np.random.default_rng(0).normal(0, 0.4, (500, 2)).round(4)


def table(
    folder: Path, header: str, *, times: np.ndarray | None = None, delimiter: str = ",", scale: float = 1
) -> Path:
    times = np.arange(500) / 250 if times is None else times
    rows = [delimiter.join(f"{value:.6g}" for value in row) for row in np.column_stack([times, VALUES * scale])]
    (folder / "study.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "study.csv"


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        ECG().read(source)
    assert "study" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("header", "delimiter", "time_scale", "scale"),
    [
        ("time,II (mV),V1 (mV)", ",", 1, 1),
        ("t,II [uV],V1", ",", 1, 1000),
        ("time_s;lead II (mV);C1", ";", 1, 1),
        ("time_ms\tMDC_ECG_LEAD_II\tv1 [mV]", "\t", 1000, 1),
        ("Time (ms),DII (V),V1 (V)", ",", 1000, 0.001),
        ('"time_s","II (mV)","V1"', ",", 1, 1),
        ("\N{BYTE ORDER MARK}time,II (mV),V1", ",", 1, 1),
    ],
)
def test_names_units_and_times_of_the_header(
    header: str, delimiter: str, time_scale: float, scale: float, tmp_path: Path
) -> None:
    source = table(tmp_path, header, times=np.arange(500) / 250 * time_scale, delimiter=delimiter, scale=scale)
    raw = ECG().read(source)
    np.testing.assert_allclose(raw.signal[[1, 6]], VALUES.T, atol=1e-4)
    assert np.isnan(raw.signal[[0, 2, 11]]).all()
    assert raw.rate == 250.0
    assert ECG().stored_as(source) == "csv"


@pytest.mark.parametrize(("rate", "expected"), [(256, 256.0), (1000 / 3, 1000 / 3), (500, 500.0)])
def test_rounded_times_give_the_rate(rate: float, expected: float, tmp_path: Path) -> None:
    raw = ECG().read(table(tmp_path, "time_ms,II (mV),V1", times=(np.arange(500) / rate * 1000).round(1)))
    assert raw.rate == pytest.approx(expected, rel=1e-4)
    assert expected != round(expected) or raw.rate == expected


def test_an_inverted_lead_is_turned_and_a_missing_sample_stays_missing(tmp_path: Path) -> None:
    source = table(tmp_path, "time,-aVR (mV),V1")
    source.write_text(source.read_text().replace(f"\n0.004,{VALUES[1, 0]:.6g},", "\n0.004,nan,", 1))
    raw = ECG().read(source)
    np.testing.assert_allclose(raw.signal[LEADS.index("aVR"), 2:], -VALUES[2:, 0], atol=1e-6)
    assert np.flatnonzero(np.isnan(raw.signal[LEADS.index("aVR")])).tolist() == [1]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("II (mV),V1,V2", "0 columns of time"),
        ("time,t,II (mV)", "2 columns of time"),
        ("time (min),II (mV),V1", "1 columns of time; expected one"),
        ("time,II (mV),patient", "neither time nor a lead"),
        ("time,II,V1", "0 units"),
        ("time,II (mV),V1 (uV)", "2 units"),
        ("time,II (mmHg),V1", "another unit than mV, uV and V"),
        ("time,II (mV),II", "lead II is stored twice"),
        ("time,II (mV)", "of 3 columns; its header names 2"),
        ("time;II (mV);V1", "not a number in every column"),
    ],
)
def test_other_headers_are_refused(header: str, expected: str, tmp_path: Path) -> None:
    assert expected in reason(table(tmp_path, header))


LOST = np.delete(np.arange(501), 250) / 250
REPEATED = np.concatenate([np.arange(250), np.arange(249, 499)]) / 250


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (LOST, "not even"),
        (REPEATED, "not even"),
        (np.arange(500)[::-1] / 250, "do not grow"),
        (np.zeros(500), "do not grow"),
        (np.where(np.arange(500) == 9, np.nan, np.arange(500) / 250), "do not grow"),
        (np.arange(500) * 4, "sampling rate of 0.25 Hz"),  # milliseconds under the name of seconds
        (np.arange(500) / 250 * 0.4, "expected at least 1 second"),
    ],
)
def test_other_times_are_refused(times: np.ndarray, expected: str, tmp_path: Path) -> None:
    assert expected in reason(table(tmp_path, "time,II (mV),V1", times=times))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\n0.008,", "\n0.008;", "not a number in every column"),
        ("\n0.008,", "\n0.008,,", "not a number in every column"),
        ("\n0.008,", "\n", "not a number in every column"),
        ("\n0.008,", "\nDoe John,", "not a number in every column"),
        ("\n0.008,", "\n0.008,1e999", "not a number in every column"),
        ("\n0.008,", "\n0.008,1e30", "not a number in every column"),
    ],
)
def test_other_rows_are_refused(old: str, new: str, expected: str, tmp_path: Path) -> None:
    source = table(tmp_path, "time,II (mV),V1")
    source.write_text(source.read_text().replace(old, new, 1))
    assert expected in reason(source)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.csv").write_text("time,II (mV),V1\n")
    assert "no rows" in reason(tmp_path / "study.csv")


def test_an_infinite_value_is_refused(tmp_path: Path) -> None:
    source = table(tmp_path, "time,II (mV),V1")
    source.write_text(source.read_text().replace(f",{VALUES[3, 1]:.6g}\n", ",inf\n", 1))
    assert "more than 10,000 mV" in reason(source)


def test_a_table_of_other_columns_is_not_an_electrocardiogram(tmp_path: Path) -> None:
    (tmp_path / "study.csv").write_text("name,value\nsodium,140\n")
    assert "nor CSV with leads" in reason(tmp_path / "study.csv")


@pytest.mark.timeout(20)
def test_long_runs_of_blanks_do_not_take_cubic_time(tmp_path: Path) -> None:
    (tmp_path / "study.csv").write_text(f"time,II{' ' * 1900}x")
    assert "nor CSV with leads" in reason(tmp_path / "study.csv")
