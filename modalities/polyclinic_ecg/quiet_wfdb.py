"""The parts of wfdb in use, imported without the pandas deprecation warning that wfdb 4.3 raises while loading."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb
    from wfdb.io.header import parse_header_content, rx_record, rx_signal

__all__ = ["parse_header_content", "rx_record", "rx_signal", "wfdb"]
