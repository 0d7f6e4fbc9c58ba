"""Import the used parts of wfdb without the pandas deprecation warning that wfdb 4.3 raises on import."""

import warnings
from collections.abc import Sequence
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb
    from wfdb.io import _header, _signal
    from wfdb.io.header import parse_header_content, rx_record, rx_signal

__all__ = ["digital_record", "parse_header_content", "rx_record", "rx_signal", "wfdb"]


def digital_record(lines: Sequence[str], folder: Path) -> "wfdb.Record":
    """Read integer samples like ``wfdb.rdrecord``, but from the lines of a header.

    ``rdrecord`` opens ``NAME.hea``, so it cannot read ``NAME.HEA`` or accept a length that the header lacks.

    Args:
        lines: record line and signal lines.
        folder: folder of the signal files.
    """
    record = wfdb.Record()
    fields = {**_header._parse_record_line(lines[0]), **_header._parse_signal_lines(list(lines[1:]))}
    for name, value in fields.items():
        if name != "n_seg":
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
