"""Every storage format of signal(5), packed here as the manual describes, and the fields of header(5) that matter."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.recording import LEADS, Electrocardiogram

RATE, LENGTH = 250, 251  # an odd number of samples, so that packed formats end in the middle of a block
GAIN = 200.0
BITS = {"8": 8, "80": 8, "212": 12, "310": 10, "311": 10, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32}
COMPRESSED = {"508": "PCM_S8", "516": "PCM_16", "524": "PCM_24"}


def integers(bits: int, count: int = 3) -> np.ndarray:
    """Draw from the whole range but its smallest value, which stands for a missing sample."""
    top = 2 ** (min(bits, 20) - 1) - 1
    values = np.random.default_rng(bits).integers(-top, top + 1, (count, LENGTH))
    values[:, 0], values[:, 1] = top, -top
    return values


def words_of_ten(flat: np.ndarray, pack: Callable[[int, int, int], int]) -> bytes:
    padded = np.concatenate([flat, np.zeros(-len(flat) % 3, dtype=flat.dtype)]).reshape(-1, 3) & 0x3FF
    return b"".join(pack(*(int(value) for value in three)).to_bytes(4, "little") for three in padded)


def packed(values: np.ndarray, fmt: str) -> bytes:
    """Pack the samples of all signals in turn, as signal(5) describes each format."""
    flat = values.T.reshape(-1)
    if fmt == "8":  # first differences of each signal from its initial value
        return np.diff(values, axis=1, prepend=values[:, :1]).T.reshape(-1).astype("<i1").tobytes()
    if fmt == "80":
        return (flat + 128).astype("<u1").tobytes()
    if fmt == "160":
        return (flat + 32768).astype("<u2").tobytes()
    if fmt in ("16", "61", "32"):
        return flat.astype({"16": "<i2", "61": ">i2", "32": "<i4"}[fmt]).tobytes()
    if fmt == "24":
        return b"".join(int(value).to_bytes(3, "little", signed=True) for value in flat)
    if fmt == "212":
        padded = np.concatenate([flat, np.zeros(len(flat) % 2, dtype=flat.dtype)]).reshape(-1, 2) & 0xFFF
        # The first sample's 12 bits are its byte and the low nibble of the next; the high nibble belongs to the second.
        return b"".join(bytes([a & 0xFF, (a >> 8) | ((b >> 8) << 4), b & 0xFF]) for a, b in padded.tolist())
    if fmt == "310":  # the first two in bits 1 to 10 of 16-bit words, the third in their five highest
        return words_of_ten(flat, lambda a, b, c: (a << 1 | (c & 0x1F) << 11) | (b << 1 | (c >> 5) << 11) << 16)
    return words_of_ten(flat, lambda a, b, c: a | b << 10 | c << 20)


def write(
    folder: Path,
    values: np.ndarray,
    fmt: str,
    *,
    fields: Sequence[str] | None = None,
    names: Sequence[str] = LEADS,
    content: bytes | None = None,
    length: int | None = None,
) -> Path:
    """Write a record of one file; ``fields`` replace gain, baseline and unit."""
    (folder / "study.dat").write_bytes(packed(values, fmt) if content is None else content)
    lines = [f"study {len(values)} {RATE} {values.shape[1] if length is None else length}"]
    for place, row in enumerate(values):
        field = fields[place] if fields else f"{fmt} {GAIN:g}(0)/mV"
        lines.append(f"study.dat {field} 16 0 {row[0]} {int(row.sum()) % 65536} 0 {names[place]}")
    (folder / "study.hea").write_text("\n".join(lines) + "\n")
    return folder / "study.hea"


def read(source: Path) -> Electrocardiogram:
    return ECG().read(source)


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        read(source)
    assert "study" not in str(caught.value)
    return str(caught.value)


def stored(fmt: str, count: int = 3) -> np.ndarray:
    if fmt == "8":  # differences of 8 bits: a slow ramp up and down
        return np.cumsum(np.random.default_rng(8).integers(-127, 128, (count, LENGTH)), axis=1)
    return integers(BITS[fmt], count)


@pytest.mark.parametrize("fmt", BITS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_format_returns_the_stored_integers(tmp_path: Path, fmt: str, count: int) -> None:
    values = stored(fmt, count)
    raw = read(write(tmp_path, values, fmt))
    np.testing.assert_allclose(raw.signal[:count], values / GAIN, rtol=1e-6)
    assert (raw.facts["encoding"], raw.facts["checksum"]) == (fmt, "verified")


@pytest.mark.parametrize("fmt", COMPRESSED)
@pytest.mark.parametrize("count", [1, 3])
def test_compressed_formats_return_the_stored_integers(tmp_path: Path, fmt: str, count: int) -> None:
    bits = int(fmt) - 500
    values = integers(bits, count)
    shifted = (values << (16 - bits if bits <= 16 else 32 - bits)).T
    soundfile.write(
        tmp_path / "flac", shifted.astype("<i2" if bits <= 16 else "<i4"), RATE, COMPRESSED[fmt], format="FLAC"
    )
    content = (tmp_path / "flac").read_bytes()
    raw = read(write(tmp_path, values, fmt, content=content))
    np.testing.assert_allclose(raw.signal[:count], values / GAIN, rtol=1e-6)
    assert raw.facts["checksum"] == "verified"
    assert "truncated" in reason(write(tmp_path, values, fmt, content=content[:-9]))


@pytest.mark.parametrize("fmt", [fmt for fmt in BITS if fmt != "8"])
def test_the_smallest_value_of_a_format_is_read_as_missing(tmp_path: Path, fmt: str) -> None:
    values = stored(fmt)
    values[1, 7:20] = -(2 ** (BITS[fmt] - 1))
    raw = read(write(tmp_path, values, fmt))
    assert np.isnan(raw.signal[:3]).sum() == np.isnan(raw.signal[1, 7:20]).sum() == 13


@pytest.mark.parametrize("fmt", BITS)
def test_changed_and_truncated_files_are_refused_in_every_format(tmp_path: Path, fmt: str) -> None:
    header = write(tmp_path, stored(fmt), fmt)
    content = bytearray((tmp_path / "study.dat").read_bytes())
    content[40] ^= 4
    (tmp_path / "study.dat").write_bytes(content)
    assert "checksum" in reason(header)
    (tmp_path / "study.dat").write_bytes(content[:-8])
    assert "truncated" in reason(header)


def test_zero_gain_baseline_and_unit_have_the_defaults_of_the_manual(tmp_path: Path) -> None:
    values = integers(12, 4)
    fields = ["16 0/mV", "16 400/mV", "16 400(50)", "16 0.5(-30)/uV"]
    raw = read(write(tmp_path, values, "16", fields=fields))
    np.testing.assert_allclose(raw.signal[0], values[0] / 200, rtol=1e-6)
    np.testing.assert_allclose(raw.signal[1], values[1] / 400, rtol=1e-6)
    np.testing.assert_allclose(raw.signal[2], (values[2] - 50) / 400, rtol=1e-6)
    np.testing.assert_allclose(raw.signal[3], (values[3] + 30) / 0.5 / 1000, rtol=1e-6)


def test_an_omitted_baseline_is_the_zero_of_the_converter(tmp_path: Path) -> None:
    values = integers(12, 1)
    header = write(tmp_path, values, "16", fields=["16 400/mV"])
    header.write_text(header.read_text().replace("/mV 16 0 ", "/mV 16 1024 "))
    np.testing.assert_allclose(read(header).signal[0], (values[0] - 1024) / 400, rtol=1e-6)


def test_a_skewed_signal_is_aligned_with_the_others(tmp_path: Path) -> None:
    values = integers(12, 2)
    raw = read(write(tmp_path, values, "16", fields=["16 200(0)/mV", "16:7 200(0)/mV"]))
    np.testing.assert_allclose(raw.signal[0], values[0] / 200, rtol=1e-6)
    np.testing.assert_allclose(raw.signal[1, :-7], values[1, 7:] / 200, rtol=1e-6)
    assert np.isnan(raw.signal[1, -7:]).all()
    assert raw.facts["checksum"] == "verified"
    late = write(tmp_path, values, "16", fields=["16 200(0)/mV", f"16:{10**30} 200(0)/mV"])
    assert read(late).facts["leads"] == 1


def test_several_samples_per_frame_are_a_higher_rate(tmp_path: Path) -> None:
    values = integers(12, 2).astype(np.int64)
    even = values[:, :250].reshape(2, 125, 2)  # two samples of each lead in each frame
    pressure = np.arange(125)
    frames = np.concatenate([even[0], even[1], pressure[:, None]], axis=1)
    (tmp_path / "study.dat").write_bytes(frames.astype("<i2").tobytes())
    lines = ["study 3 125 125", "study.dat 16x2 200/mV 16 0 0 0 0 I", "study.dat 16x2 200/mV 16 0 0 0 0 II"]
    sums = [int(values[0, :250].sum()) % 65536, int(values[1, :250].sum()) % 65536]
    lines = [line.replace(" 0 0 0 I", f" 0 {sum_} 0 I") for line, sum_ in zip(lines, [0, *sums], strict=True)]
    (tmp_path / "study.hea").write_text("\n".join([*lines, "study.dat 16 1/mmHg 16 0 0 7750 0 ABP"]) + "\n")
    raw = read(tmp_path / "study.hea")
    np.testing.assert_allclose(raw.signal[:2], values[:, :250] / 200, rtol=1e-6)
    assert (raw.rate, raw.facts["seconds"]) == (250.0, 1.0)
    header = (tmp_path / "study.hea").read_text()
    (tmp_path / "study.hea").write_text(header.replace("0 ABP", "0 III"))
    assert "different rate" in reason(tmp_path / "study.hea")


def test_non_ascii_characters_are_not_dropped_to_make_a_lead_name(tmp_path: Path) -> None:
    header = write(tmp_path, integers(12, 2), "16", names=["II", "\N{GREEK CAPITAL LETTER DELTA}V1"])
    raw = read(header)
    assert (raw.facts["leads"], bool(np.isnan(raw.signal[6]).all())) == (1, True)


def test_a_file_longer_than_declared_is_refused_without_a_checksum_too(tmp_path: Path) -> None:
    values = integers(12)
    long = np.concatenate([values, values], axis=1)
    header = write(tmp_path, long, "16", length=LENGTH)
    text = header.read_text().splitlines()
    assert "checksum" in reason(header)
    without_checksums = [text[0], *(f"study.dat 16 200(0)/mV {name}" for name in ("I", "II", "III"))]
    header.write_text("\n".join(without_checksums) + "\n")
    assert f"signal file of {long.size * 2} bytes; its header declares {values.size * 2}" in reason(header)
    (tmp_path / "study.dat").write_bytes(packed(values, "16"))
    assert read(header).facts["checksum"] == "absent"


@pytest.mark.parametrize("name", ["V", "a", "aV", "", "I", "II", "Lead I (Ein", "vx"])
def test_a_header_truncated_in_the_name_of_its_last_lead_is_refused(tmp_path: Path, name: str) -> None:
    header = write(tmp_path, integers(12), "16", names=["V1", "V2", "III"])
    text = header.read_text()
    header.write_text(text.removesuffix("III\n") + name)
    assert "ends in the middle of a line" in reason(header)
    header.write_text(text.removesuffix("\n"))
    assert read(header).facts["leads"] == 3
    header.write_text(text + "# age: 60\n# and so o")
    assert read(header).facts["leads"] == 3
    if name not in ("I", "II"):
        header.write_text(text.removesuffix("III\n") + f"{name}\n")
        assert read(header).facts["leads"] == 2
