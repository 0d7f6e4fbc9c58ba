"""The parts of wfdb in use, imported without the pandas deprecation warning that wfdb 4.3 raises while loading."""

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
    """What ``wfdb.rdrecord`` reads as integers, of a header that is given by its lines.

    ``rdrecord`` opens ``NAME.hea`` itself, so it can neither read ``NAME.HEA`` nor be given a missing length.

    Args:
        lines: of the record and of its signals.
        folder: of the signal files.
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
