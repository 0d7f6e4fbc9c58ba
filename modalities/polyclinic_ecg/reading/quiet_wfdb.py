"""Import the used parts of wfdb without the pandas deprecation warning that wfdb 4.3 raises on import."""

import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb
    from wfdb.io import _header, _signal
    from wfdb.io.header import parse_header_content, rx_record, rx_signal

_SPECIFICATIONS = {
    field: (row["read_default"], next((kind for kind in (float, int) if kind in row["allowed_types"]), str))
    for field, row in _header.SIGNAL_SPECS.iterrows()
}
"""Default and type of each field of a signal line."""

_DEFAULT_GAIN = 200.0

__all__ = ["digital_record", "parse_header_content", "rx_record", "rx_signal", "wfdb"]


def digital_record(lines: Sequence[str], folder: Path) -> "wfdb.Record":
    """Read integer samples like ``wfdb.rdrecord``, but from the lines of a header.

    ``rdrecord`` opens ``NAME.hea``, so it cannot read ``NAME.HEA`` or accept a length that the header lacks.

    Args:
        lines: record line and signal lines.
        folder: folder of the signal files.
    """
    record = wfdb.Record()
    for name, value in {**_record_fields(lines[0]), **_signal_fields(lines[1:])}.items():
        setattr(record, name, value)
    record.e_d_signal = _signal._rd_segment(
        file_name=record.file_name,
        dir_name=str(folder),
        pn_dir=None,
        fmt=record.fmt,
        n_sig=record.n_sig,
        sig_len=record.sig_len,
        byte_offset=record.byte_offset,
        samps_per_frame=record.samps_per_frame,
        skew=record.skew,
        init_value=record.init_value,
        sampfrom=0,
        sampto=record.sig_len,
        channels=list(range(record.n_sig)),
        ignore_skew=True,
    )
    return record


def _record_fields(line: str) -> dict[str, Any]:
    """Return the fields of a record line on which the samples depend.

    wfdb looks up the fields of both kinds of line in a table of pandas, which takes longer than reading the samples.
    """
    match = rx_record.match(line)
    assert match is not None, "the record line was parsed before"
    rate = float(match["fs"])
    if match["base_time"]:
        _header.wfdb_strptime(match["base_time"])
    if match["base_date"]:
        datetime.strptime(match["base_date"], "%d/%m/%Y")
    return {
        "record_name": match["record_name"],
        "n_sig": int(match["n_sig"]),
        "sig_len": int(match["sig_len"]),
        "fs": int(rate) if round(rate, 8) == int(rate) else rate,
    }


def _signal_fields(lines: Sequence[str]) -> dict[str, list[Any]]:
    """Return each field of the signal lines as a list."""
    fields: dict[str, list[Any]] = {field: [] for field in _SPECIFICATIONS}
    for line in lines:
        match = rx_signal.match(line)
        assert match is not None, "a signal line was parsed before"
        texts = match.groupdict()
        # header(5): without a baseline it is the ADC zero, and a gain of 0 means the default.
        texts["baseline"] = texts["baseline"] or texts["adc_zero"]
        for field, (default, kind) in _SPECIFICATIONS.items():
            value = kind(texts[field]) if texts[field] else default
            fields[field].append(_DEFAULT_GAIN if field == "adc_gain" and value == 0 else value)
    return fields
