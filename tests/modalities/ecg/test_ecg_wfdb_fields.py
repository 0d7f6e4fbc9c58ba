"""Header fields equal those of wfdb, which parses them more slowly."""

import numpy as np
import pytest

from polyclinic_ecg.reading.quiet_wfdb import _header, _record_fields, _signal_fields, rx_record, rx_signal

PARTS = (
    ("a.dat", "record_1.mat", "ECG-7.dat"),
    ("16", "212", "16x2", "16:3", "16+24", "80x4:1+512"),
    ("200", "0", "1000.5(0)/mV", "200(-5)/uV", "1e3(12)/mmHg", "0/mV", ""),
    ("12", "0", ""),
    ("0", "1024", "-3", ""),
    ("-51", ""),
    ("30173", "-7", ""),
    ("0", ""),
    ("MLII", "aVR", "lead I, upright", ""),
)


def test_signal_fields_are_those_of_wfdb() -> None:
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(part) for part in PARTS[: rng.integers(2, 10)]).strip() for _ in range(500)]
    lines = [line for line in lines if rx_signal.match(line)]
    assert len(lines) > 300
    for start in range(0, len(lines), 12):
        assert _signal_fields(lines[start : start + 12]) == _header._parse_signal_lines(lines[start : start + 12])


@pytest.mark.parametrize(
    "line",
    ["a 12 500 5000", "a 12 499.99 5000", "a 1 360.000000001 650000 12:30:05 24/12/1998", "a 2 250/1000(3) 10 0:0:0"],
)
def test_record_fields_are_those_of_wfdb(line: str) -> None:
    expected = _header._parse_record_line(line)
    assert rx_record.match(line)
    fields = _record_fields(line)
    assert fields == {name: expected[name] for name in fields}
    assert type(fields["fs"]) is type(expected["fs"])


@pytest.mark.parametrize("line", ["a 12 500 5000 25:61:00", "a 12 500 5000 12:00:00 31/02/2020"])
def test_an_invalid_time_is_refused_as_in_wfdb(line: str) -> None:
    for parse in (_header._parse_record_line, _record_fields):
        with pytest.raises(ValueError, match=r"time data|unconverted|day is out of range"):
            parse(line)
