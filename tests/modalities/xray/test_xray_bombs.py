"""Files that claim more than they hold, or inflate without end, are refused before memory is allocated."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from golden.dicom import generate
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from polyclinic.modality import UnreadableSource
from polyclinic_xray import XRay
from polyclinic_xray.reading.dicom import MAX_INFLATED_BYTES

COMPRESSED = (
    *("rle", "jpeg_baseline", "jpeg_lossless_sv1", "jpeg_extended_12_bit"),
    *("jpeg_ls_lossless", "jpeg2000_lossless"),
)
# Offset of the number of rows from the start of the marker segment.
ROWS_OFFSET = {b"\xff\xc0": 5, b"\xff\xc1": 5, b"\xff\xc3": 5, b"\xff\xf7": 5, b"\xff\x51": 8}
FEW_MEGABYTES = 60_000_000


def reason(path: Path) -> str:
    """Return why a file is refused, and assert that this takes a few megabytes at most."""
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableSource) as caught:
            XRay(size=32, patch=8).read(path)
        assert tracemalloc.get_traced_memory()[1] < FEW_MEGABYTES
    finally:
        tracemalloc.stop()
    assert path.stem not in str(caught.value)
    assert "MemoryError" not in str(caught.value)
    return str(caught.value)


def golden(name: str) -> Dataset:
    return pydicom.dcmread(generate.FOLDER / f"{name}.dcm")


def save(dataset: Dataset, folder: Path) -> Path:
    dataset.save_as(folder / "study.dcm")
    return folder / "study.dcm"


def with_frame(dataset: Dataset, frame: bytes) -> Dataset:
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    return dataset


def test_a_deflated_bomb_is_refused_while_inflating(tmp_path: Path) -> None:
    plain = golden("deflated")
    content = (generate.FOLDER / "deflated.dcm").read_bytes()
    # The file's own beginning, then an element of zeros that never ends.
    meta = content.index(b"1.2.840.10008.1.2.1.99")
    start = 144 + struct.unpack("<I", content[140:144])[0]
    assert 128 < meta < start
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    header = b"\x28\x00\x00\x30OW\0\0" + struct.pack("<I", 2**32 - 2)
    count = MAX_INFLATED_BYTES // 2**22 + 2
    bomb = packer.compress(header) + b"".join(packer.compress(bytes(2**22)) for _ in range(count)) + packer.flush()
    (tmp_path / "study.dcm").write_bytes(content[:start] + bomb)
    assert len(bomb) < MAX_INFLATED_BYTES // 1000
    assert "deflated DICOM of more than 320,000,000 bytes" in reason(tmp_path / "study.dcm")
    assert plain.Rows == 32


def test_a_truncated_deflated_file_is_refused(tmp_path: Path) -> None:
    content = (generate.FOLDER / "deflated.dcm").read_bytes()
    (tmp_path / "study.dcm").write_bytes(content[:-20])
    assert "not a DICOM file that can be parsed" in reason(tmp_path / "study.dcm")


@pytest.mark.parametrize("name", ["no_voi", "deflated", "encapsulated_uncompressed", *COMPRESSED])
def test_tags_that_claim_more_pixels_than_there_are_are_refused(tmp_path: Path, name: str) -> None:
    dataset = golden(name)
    dataset.Rows = dataset.Columns = 8_900
    message = reason(save(dataset, tmp_path))
    assert any(part in message for part in ("8900 x 8900", "cannot be decoded")), message
    dataset.Rows = dataset.Columns = 65_535
    assert "65535 x 65535 pixels; expected 1 to 80,000,000" in reason(save(dataset, tmp_path))


@pytest.mark.parametrize("name", COMPRESSED[1:])
def test_a_frame_that_claims_more_pixels_than_the_tags_is_refused(tmp_path: Path, name: str) -> None:
    dataset = golden(name)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    marker = next(each for each in ROWS_OFFSET if each in bytes(frame[:700]))
    place = frame.index(marker) + ROWS_OFFSET[marker]
    size = 4 if marker == b"\xff\x51" else 2
    frame[place - (size == 4) * 2 : place - (size == 4) * 2 + 2 * size] = b"\xff" * (2 * size)
    message = reason(save(with_frame(dataset, bytes(frame)), tmp_path))
    assert "code stream of" in message
    assert "expected 32 x 32 x 1 as the tags say" in message


def test_frames_without_a_header_and_pixels_without_a_frame_are_refused(tmp_path: Path) -> None:
    for name in COMPRESSED[1:]:
        assert "start of a code stream" in reason(save(with_frame(golden(name), b"\xff\xd8" + bytes(50)), tmp_path))
    bare = golden("no_voi")
    path = tmp_path / "bare.dcm"
    # Written as explicit little endian, then relabelled, because no writer would write it so.
    bare.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    assert "not encapsulated as declared" in reason(path)
    assert "bytes of RLE cannot hold" in reason(save(with_frame(golden("rle"), bytes(20)), tmp_path))


@pytest.mark.parametrize(
    ("place", "values", "expected"),
    [
        (b"\xff\xc3", {1: 0xC1, 4: 12}, "another coding"),
        (b"\xff\xc3", {4: 11}, "11 bits per sample"),
        (b"\xff\xc3", {4: 17}, "17 bits per sample"),
        (b"\xff\xc3", {11: 0x22}, "subsampled"),
        (b"\xff\xc4", {5: 200}, "too many codes"),
        (b"\xff\xc4", {4: 1}, "not defined"),
        (b"\xff\xc4", {4: 9}, "cut short"),
        (b"\xff\xc4", {21: 77}, "impossible values"),
        (b"\xff\xda", {4: 2}, "several scans"),
        (b"\xff\xda", {5: 9}, "other components"),
        (b"\xff\xda", {7: 0}, "predictor"),
        (b"\xff\xda", {2: 200}, "longer than the frame"),
        (b"\xff\xd9", {1: 0x00}, "no end of image"),
        (b"\xff\xd9", {1: 0xD8}, "no end of image"),
    ],
)
def test_segments_that_would_crash_a_decoder_are_refused(
    tmp_path: Path, place: bytes, values: dict[int, int], expected: str
) -> None:
    dataset = golden("jpeg_lossless_sv1")
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    start = frame.index(place)
    for offset, value in values.items():
        frame[start + offset] = value
    assert expected in reason(save(with_frame(dataset, bytes(frame)), tmp_path))


@pytest.mark.parametrize("name", ["jpeg_lossless", "jpeg_lossless_sv1"])
def test_missing_and_inserted_codes_are_refused(tmp_path: Path, name: str) -> None:
    dataset = golden(name)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    start, end = frame.index(b"\xff\xda") + 10, frame.index(b"\xff\xd9")
    for missing_bytes in (10, 100, end - start - 1):  # libjpeg replaces missing codes by zeros
        truncated = frame[: end - missing_bytes] + frame[end:]
        assert "codes that do not fit" in reason(save(with_frame(dataset, truncated), tmp_path))
    for place in range(start + 5, end - 5, 97):
        with_frame(dataset, frame[:place] + bytes(9) + frame[place:])
        assert "codes that do not fit" in reason(save(dataset, tmp_path))


def lossless_frame(values: np.ndarray, predictor: int, bits: int) -> bytes:
    """Encode sample by sample as in ISO/IEC 10918-1 H.1.2, with codes of five bits for every category."""
    codes = ""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            left, above = int(values[row, column - 1]), int(values[row - 1, column])
            corner = int(values[row - 1, column - 1])
            if row == 0 or column == 0:
                predicted = 2 ** (bits - 1) if row == column == 0 else left if row == 0 else above
            else:
                predicted = (
                    *(0, left, above, corner, left + above - corner, left + ((above - corner) >> 1)),
                    *(above + ((left - corner) >> 1), (left + above) >> 1),
                )[predictor]
            difference = (int(values[row, column]) - predicted) % 65536
            difference -= 65536 if difference > 32768 else 0
            category = abs(difference).bit_length()
            codes += f"{category:05b}"
            if 0 < category < 16:
                codes += f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}"
    codes += "1" * (-len(codes) % 8)
    coded = int(codes, 2).to_bytes(len(codes) // 8, "big").replace(b"\xff", b"\xff\x00")
    rows, columns = values.shape
    return (
        b"\xff\xd8\xff\xc3\0\x0b"
        + struct.pack(">BHHB", bits, rows, columns, 1)
        + b"\x01\x11\0\xff\xc4\0\x24\0"
        + bytes([0, 0, 0, 0, 17, *[0] * 11, *range(17)])
        + b"\xff\xda\0\x08\x01\x01\0"
        + bytes([predictor, 0, 0])
        + coded
        + b"\xff\xd9"
    )


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_of_jpeg_lossless_returns_its_pixels(tmp_path: Path, predictor: int) -> None:
    values = np.random.default_rng(predictor).integers(0, 2**16, (9, 14))
    values[0, :2], values[1, :2] = (0, 32768), (65535, 0)
    dataset = golden("jpeg_lossless")
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsStored, dataset.HighBit = 16, 15
    frame = lossless_frame(values, predictor, bits=16)
    path = save(with_frame(dataset, frame), tmp_path)
    np.testing.assert_allclose(XRay(size=32, patch=8).read(path).pixels, values / 65535, atol=1e-6)


def test_stray_bits_are_reported_in_jpeg_lossless_too(tmp_path: Path) -> None:
    values = np.arange(1024).reshape(32, 32) * 4 | 0x8000 * (np.arange(32) % 2)
    dataset = with_frame(golden("jpeg_lossless"), lossless_frame(values, 1, bits=16))
    raw = XRay(size=32, patch=8).read(save(dataset, tmp_path))
    np.testing.assert_allclose(raw.pixels, (values & 0x0FFF) / 4095, atol=1e-6)
    assert raw.facts["unused_bits"] == "cleared"


def test_a_jpeg_ls_frame_without_an_end_is_refused_before_decoding(tmp_path: Path) -> None:
    dataset = golden("jpeg_ls_lossless")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    truncated = frame[: frame.rindex(b"\xff\xd9")]
    assert "no end of image" in reason(save(with_frame(dataset, truncated), tmp_path))


def test_an_unknown_colour_transform_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("SC_rgb_jpeg_gdcm.dcm")))
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    frame[frame.index(b"Adobe") + 11] = 7
    assert "unknown colour transform" in reason(save(with_frame(dataset, bytes(frame)), tmp_path))


def png(*chunks: tuple[bytes, bytes], side: int = 8) -> bytes:
    """Encode a PNG of a single grey with chunks before its pixels."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), 9, dtype=np.uint8)).save(stream, "PNG")
    content = stream.getvalue()
    extra = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return content[:33] + extra + content[33:]


def compressed_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()


def peak_of(path: Path) -> int:
    """Measure the peak memory of reading or refusing a file."""
    tracemalloc.start()
    try:
        with contextlib.suppress(UnreadableSource):
            XRay(size=32, patch=8).read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"iCCP", b"a\0\0" + compressed_zeros(200_000_000))],
        [(b"zTXt", b"a\0\0" + compressed_zeros(200_000_000))],
        [(b"iTXt", b"a\0\1\0\0\0" + compressed_zeros(200_000_000))],
        [(b"zTXt", b"a\0\0" + compressed_zeros(900_000))] * 100,
    ],
)
def test_inflating_texts_of_a_png_are_not_held_in_memory(tmp_path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    (tmp_path / "study.png").write_bytes(png(*chunks))
    assert peak_of(tmp_path / "study.png") < FEW_MEGABYTES + 64 * 2**20  # Pillow keeps 64 MiB of text at most


def test_png_pixels_that_inflate_beyond_the_size_are_not_held_in_memory(tmp_path: Path) -> None:
    content = png()
    place = content.index(b"IDAT")
    (size,) = struct.unpack(">I", content[place - 4 : place])
    data = b"IDAT" + compressed_zeros(200_000_000)
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "study.png").write_bytes(content[: place - 4] + chunk + content[place + size + 8 :])
    assert peak_of(tmp_path / "study.png") < FEW_MEGABYTES


def test_a_transfer_syntax_other_than_that_of_the_frame_is_refused(tmp_path: Path) -> None:
    for name in COMPRESSED:
        for syntax in (uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGBaseline8Bit):
            dataset = golden(name)
            if dataset.file_meta.TransferSyntaxUID == syntax:
                continue
            dataset.file_meta.TransferSyntaxUID = syntax
            reason(save(dataset, tmp_path))
