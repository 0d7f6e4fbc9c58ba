"""From a WFDB record (header and signal files) to leads."""

from collections.abc import Sequence
from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.quiet_wfdb import wfdb
from polyclinic_ecg.recording import Channel, Electrocardiogram, assemble
from polyclinic_ecg.wfdb_header import parse_header


def header_of(path: Path) -> Path | None:
    """The header that goes with ``record.hea``, ``record.dat`` or the bare ``record``, if there is one."""
    if path.suffix.lower() == ".hea":
        return path if path.is_file() else None
    beside = path.with_suffix(".hea") if path.suffix.lower() == ".dat" else path.with_name(f"{path.name}.hea")
    return beside if beside.is_file() else None


def read_wfdb(header: Path) -> Electrocardiogram:
    """Decode a single-segment record and verify its lengths and checksums.

    Args:
        header: the ``.hea`` file; signal files lie beside it.

    Raises:
        UnreadableSource: a header that is broken, absurd or points elsewhere, truncated or altered samples, or
            leads that cannot be used.
    """
    declared = parse_header(header)
    try:
        record = wfdb.rdrecord(str(header.absolute().with_suffix("")), physical=False, smooth_frames=False)
        sums = record.calc_checksum(expanded=True)
        values = record.dac(expanded=True)
    except Exception as error:
        raise UnreadableSource(
            f"signal file is missing, truncated or not as declared ({type(error).__name__})"
        ) from None
    facts = {"format": "wfdb", "encoding": declared.encodings, "checksum": _verify(declared.checksums, sums)}
    channels = zip(record.sig_name, declared.units, values, strict=True)
    return assemble((Channel(name or "", *rest) for name, *rest in channels), rate=declared.rate, facts=facts)


def _verify(stated: Sequence[int | None], sums: Sequence[int]) -> str:
    """Compare the 16-bit sums of the samples with those that the header states."""
    if any(want is not None and want % 65536 != got % 65536 for want, got in zip(stated, sums, strict=True)):
        raise UnreadableSource("samples do not match the checksum in the WFDB header; the file was altered")
    return "absent" if None in stated else "verified"
