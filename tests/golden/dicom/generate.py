"""Golden DICOM files and their expected pixels, by the formulas of PS3.3 C.11 in plain numpy.

Run ``python tests/golden/dicom/generate.py`` from the repository to write them anew; nothing of this project is used.
No encoder is at hand for High-Throughput JPEG 2000 and for video: those have no file here.
"""

import io
import zlib  # noqa: F401 - before GDCM, whose own copy of it would be taken for Python's
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

FOLDER = Path(__file__).parent
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
SIDE = 32  # the smallest image that OpenJPEG encodes
_KEPT: list[Any] = []
"""Objects of GDCM, whose wrappers do not keep alive what they refer to."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file.

    Attributes:
        stored: integers that the file holds.
        expected: in [0, 1], from ``stored`` by the standard's formulas.
        facts: expected facts of the reader.
        tags: of the data set, beside those of the pixels.
        bits: stored, of 8 or 16 allocated.
        signed: two's complement.
        syntax: transfer syntax.
        window: which view to choose.
        atol: largest difference from ``expected``; of lossy coding.
        change: of the data set after its pixels were coded.
        raw: content of the pixel cells instead of ``stored``, stray bits included.
    """

    stored: np.ndarray
    expected: np.ndarray
    facts: Mapping[str, float | str]
    tags: Mapping[str, Any] = field(default_factory=dict)
    bits: int = 12
    signed: bool = False
    syntax: str = uid.ExplicitVRLittleEndian
    window: int = 0
    atol: float = 1e-6
    change: Mapping[str, Any] = field(default_factory=dict)
    raw: np.ndarray | None = None


def ramp(bits: int, signed: bool = False) -> np.ndarray:
    """Make a smooth ramp from the smallest to the largest value."""
    across = np.add.outer(np.arange(SIDE), np.arange(SIDE)) / (2 * SIDE - 2)
    return np.round(across * (2**bits - 1)).astype(np.int64) - (2 ** (bits - 1) if signed else 0)


def full(stored: np.ndarray, bits: int, signed: bool = False) -> np.ndarray:
    """Map the full range of the stored bits to [0, 1]."""
    return (stored + (2 ** (bits - 1) if signed else 0)) / (2**bits - 1)


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """C.11.2.1.2.1."""
    return np.select(
        [values <= centre - 0.5 - (width - 1) / 2, values > centre - 0.5 + (width - 1) / 2],
        [0.0, 1.0],
        (values - (centre - 0.5)) / (width - 1) + 0.5,
    )


def linear_exact(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """C.11.2.1.3.2."""
    return np.select(
        [values <= centre - width / 2, values > centre + width / 2], [0.0, 1.0], (values - centre) / width + 0.5
    )


def sigmoid(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """C.11.2.1.3.1."""
    return 1 / (1 + np.exp(-4 * (values - centre) / width))


def look_up(values: np.ndarray, table: np.ndarray, first: int) -> np.ndarray:
    """C.11.1.1 and C.11.2.1.1: below the first mapped value the first entry, above the last the last."""
    return table[np.minimum(np.maximum(values - first, 0), len(table) - 1)]


def lut_item(table: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(table), first, bits], table.astype("<u2").tobytes()
    return item


GREY12 = ramp(12)
VOI = {"voi": "linear", "voi_chosen": "0 of 1"}
NO_VOI = {"voi": "none", "voi_chosen": "none"}
INVERTED = {"inverted": "yes", "photometric": "MONOCHROME1"}
UPRIGHT = {"inverted": "no", "photometric": "MONOCHROME2"}
MONO1 = {"PhotometricInterpretation": "MONOCHROME1"}
CURVE = np.round(1023 * (np.arange(1024) / 1023) ** 2).astype(np.int64)
SQUARES = np.round(65535 * np.sqrt(np.arange(4096) / 4095)).astype(np.int64)
WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}
PRESENTED = {"PresentationIntentType": "FOR PRESENTATION"}


def display_cases() -> dict[str, Case]:
    """Pitfall 32: polarity, windows, tables and their order."""
    windowed = linear(GREY12, 1500, 2000)
    curved = look_up(GREY12, CURVE, 500) / 1023
    deep = ramp(16)
    return {
        "no_voi": Case(stored=GREY12, expected=full(GREY12, 12), facts={**NO_VOI, **UPRIGHT, "modality_lut": "none"}),
        "monochrome1_no_window": Case(
            stored=GREY12, expected=1 - full(GREY12, 12), tags=MONO1, facts={**NO_VOI, **INVERTED}
        ),
        "monochrome1_window": Case(
            stored=GREY12, expected=1 - windowed, tags={**MONO1, **WINDOW}, facts={**VOI, **INVERTED}
        ),
        "monochrome1_16_bit": Case(
            stored=deep,
            bits=16,
            expected=1 - linear(deep, 30000, 40000),
            tags={**MONO1, "WindowCenter": 30000, "WindowWidth": 40000},
            facts={**VOI, **INVERTED, "bits": 16.0},
        ),
        "voi_table": Case(
            stored=GREY12,
            expected=curved,
            tags={"VOILUTSequence": [lut_item(CURVE, 500, 10)]},
            facts={"voi": "lut", "voi_chosen": "0 of 1", **UPRIGHT},
        ),
        "voi_table_before_window_for_presentation": Case(
            stored=GREY12,
            expected=curved,
            tags={
                "VOILUTSequence": [lut_item(CURVE, 500, 10)],
                **WINDOW,
                **PRESENTED,
                "PresentationLUTShape": "IDENTITY",
            },
            facts={"voi": "lut", "intent": "FOR PRESENTATION", "presentation_lut": "identity", **UPRIGHT},
        ),
        "second_of_three_windows": Case(
            stored=GREY12,
            expected=linear(GREY12, 1000, 500),
            tags={"WindowCenter": [2048, 1000, 300], "WindowWidth": [4096, 500, 100]},
            window=1,
            facts={"voi": "linear", "voi_chosen": "1 of 3"},
        ),
        "sigmoid": Case(
            stored=GREY12,
            expected=sigmoid(GREY12, 1500, 2000),
            tags={**WINDOW, "VOILUTFunction": "SIGMOID"},
            facts={"voi": "sigmoid"},
        ),
        "linear_exact": Case(
            stored=GREY12,
            expected=linear_exact(GREY12, 1500, 2000),
            tags={**WINDOW, "VOILUTFunction": "LINEAR_EXACT"},
            facts={"voi": "linear_exact"},
        ),
        "modality_table_and_window": Case(
            stored=GREY12,
            expected=linear(look_up(GREY12, SQUARES, 0), 30000, 40001),
            tags={
                "ModalityLUTSequence": [lut_item(SQUARES, 0, 16)],
                "WindowCenter": 30000,
                "WindowWidth": 40001,
            },
            facts={"modality_lut": "lut", **VOI},
        ),
        "rescale_and_window": Case(
            stored=GREY12,
            expected=linear(GREY12 * 0.5 - 1024, -200, 900),
            tags={"RescaleSlope": 0.5, "RescaleIntercept": -1024, "WindowCenter": -200, "WindowWidth": 900},
            facts={"modality_lut": "rescale", **VOI},
        ),
        "negative_slope_no_window": Case(
            stored=GREY12,
            expected=1 - full(GREY12, 12),
            tags={"RescaleSlope": -2, "RescaleIntercept": 100},
            facts={"modality_lut": "rescale", **NO_VOI, **UPRIGHT},
        ),
        "for_presentation_inverse": Case(
            stored=GREY12,
            expected=1 - windowed,
            tags={**MONO1, **WINDOW, **PRESENTED, "PresentationLUTShape": "INVERSE"},
            facts={**VOI, **INVERTED, "presentation_lut": "inverse", "intent": "FOR PRESENTATION"},
        ),
        "for_presentation_identity": Case(
            stored=GREY12,
            expected=windowed,
            tags={**WINDOW, **PRESENTED, "PresentationLUTShape": "IDENTITY"},
            facts={**VOI, **UPRIGHT, "presentation_lut": "identity"},
        ),
    }


def depth_cases() -> dict[str, Case]:
    """Pitfall 34: bits stored, signs, stray bits, padding; pitfall 35: spacing."""
    cases: dict[str, Case] = {}
    for bits in (8, 10, 12, 16):
        for signed in (False, True):
            stored = ramp(bits, signed)
            cases[f"bits_{bits}_{'signed' if signed else 'unsigned'}"] = Case(
                stored=stored,
                bits=bits,
                signed=signed,
                expected=full(stored, bits, signed),
                facts={"bits": float(bits), "unused_bits": "empty"},
            )
    overlay = ((np.arange(SIDE**2).reshape(SIDE, SIDE) % 3) == 0) * 0x8000
    cases["overlay_in_high_bit"] = Case(
        stored=GREY12, raw=GREY12 | overlay, expected=full(GREY12, 12), facts={"unused_bits": "cleared"}
    )
    negative = ramp(12, signed=True)
    cases["stray_high_bits_signed"] = Case(
        stored=negative,
        raw=(negative & 0x0FFF) | 0x5000,
        signed=True,
        expected=full(negative, 12, signed=True),
        facts={"unused_bits": "cleared"},
    )
    padded = GREY12.copy()
    padded[:4] = 0
    cases["padding_monochrome1"] = Case(
        stored=padded,
        expected=np.where(padded == 0, 0.0, 1 - full(padded, 12)),
        tags={**MONO1, "PixelPaddingValue": 0},
        facts={"padding_share": float((padded == 0).mean())},
    )
    beyond = ramp(12, signed=True)
    cases["padding_range_signed"] = Case(
        stored=beyond,
        signed=True,
        expected=np.where(beyond <= -1900, 0.0, linear(beyond, 0, 1000)),
        tags={"PixelPaddingValue": -2048, "PixelPaddingRangeLimit": -1900, "WindowCenter": 0, "WindowWidth": 1000},
        facts={"padding_share": float((beyond <= -1900).mean())},
    )
    for name, tags in (
        ("PixelSpacing", {"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.2, 0.2]}),
        ("ImagerPixelSpacing", {"ImagerPixelSpacing": [0.2, 0.2]}),
        ("none", {}),
    ):
        cases[f"spacing_{name.lower()}"] = Case(
            stored=GREY12, expected=full(GREY12, 12), tags=tags, facts={"spacing": name}
        )
    return cases


def syntax_cases() -> dict[str, Case]:
    """Pitfall 33: every transfer syntax that an encoder is at hand for; of the same pixels."""
    eight, signed = ramp(8), ramp(12, signed=True)
    grey = {"stored": GREY12, "expected": full(GREY12, 12)}
    coarse = {"stored": eight, "expected": full(eight, 8), "bits": 8}
    cases: dict[str, Case] = {}
    for name, syntax, decoder in (
        ("implicit_little", uid.ImplicitVRLittleEndian, "none"),
        ("explicit_big", uid.ExplicitVRBigEndian, "none"),
        ("deflated", uid.DeflatedExplicitVRLittleEndian, "none"),
        ("encapsulated_uncompressed", ENCAPSULATED_UNCOMPRESSED, "none"),
        ("rle", uid.RLELossless, "pylibjpeg"),
        ("jpeg_lossless", uid.JPEGLossless, "gdcm"),
        ("jpeg_lossless_sv1", uid.JPEGLosslessSV1, "gdcm"),
        ("jpeg_ls_lossless", uid.JPEGLSLossless, "pyjpegls"),
        ("jpeg2000_lossless", uid.JPEG2000Lossless, "pylibjpeg"),
    ):
        cases[name] = Case(**grey, syntax=syntax, facts={"transfer_syntax": str(syntax), "decoder": decoder})
    for name, syntax, decoder, atol in (
        ("jpeg_ls_near", uid.JPEGLSNearLossless, "pyjpegls", 2.01 / 4095),
        ("jpeg2000_lossy", uid.JPEG2000, "pylibjpeg", 0.02),
    ):
        cases[name] = Case(**grey, syntax=syntax, atol=atol, facts={"transfer_syntax": str(syntax), "decoder": decoder})
    for name, syntax, decoder in (
        ("jpeg_baseline", uid.JPEGBaseline8Bit, "pillow"),
        ("jpeg_extended_8_bit", uid.JPEGExtended12Bit, "gdcm"),
    ):
        facts = {"transfer_syntax": str(syntax), "decoder": decoder}
        cases[name] = Case(**coarse, syntax=syntax, atol=0.01, facts=facts)
    blocks = np.kron(ramp(12)[::8, ::8], np.ones((8, 8), dtype=np.int64))
    cases["jpeg_extended_12_bit"] = Case(
        stored=blocks,
        expected=full(blocks, 12),
        syntax=uid.JPEGExtended12Bit,
        facts={"transfer_syntax": str(uid.JPEGExtended12Bit), "decoder": "gdcm", "bits": 12.0},
    )
    # The code stream says unsigned where the tags say signed, and the other way round.
    cases["jpeg2000_unsigned_stream_of_signed"] = Case(
        stored=signed,
        raw=signed & 0x0FFF,
        expected=full(signed, 12, signed=True),
        syntax=uid.JPEG2000Lossless,
        change={"PixelRepresentation": 1},
        facts={"bits": 12.0},
    )
    cases["jpeg2000_signed_stream_of_unsigned"] = Case(
        stored=GREY12,
        raw=np.where(GREY12 >= 2048, GREY12 - 4096, GREY12),
        expected=full(GREY12, 12),
        signed=True,
        syntax=uid.JPEG2000Lossless,
        change={"PixelRepresentation": 0},
        facts={"bits": 12.0},
    )
    cases["jpeg2000_overlay_in_high_bit"] = Case(
        stored=GREY12,
        raw=GREY12 | ((np.arange(SIDE) % 2) * 0x8000),
        expected=full(GREY12, 12),
        bits=16,
        syntax=uid.JPEG2000Lossless,
        change={"BitsStored": 12, "HighBit": 11},
        facts={"unused_bits": "cleared"},
    )
    return cases


def cases() -> dict[str, Case]:
    """Return all cases by the name of their file."""
    return {**display_cases(), **depth_cases(), **syntax_cases()}


def write(case: Case, path: Path) -> None:
    """Write one file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = case.stored.shape
    dataset.BitsAllocated = 8 if case.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = case.bits, case.bits - 1, int(case.signed)
    for keyword, value in case.tags.items():
        setattr(dataset, keyword, value)
    cells = (case.stored if case.raw is None else case.raw).astype(f"<u{dataset.BitsAllocated // 8}")
    dataset.PixelData = cells.tobytes()
    _code(dataset, cells, case)
    for keyword, value in case.change.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)


def _code(dataset: Dataset, cells: np.ndarray, case: Case) -> None:
    by_pydicom: dict[str, dict[str, Any]] = {
        uid.RLELossless: {"encoding_plugin": "pydicom"},
        uid.JPEGLSLossless: {},
        uid.JPEGLSNearLossless: {"jls_error": 2},
        uid.JPEG2000Lossless: {},
        uid.JPEG2000: {"j2k_cr": [4]},
    }
    by_us: dict[str, Callable[[], bytes]] = {
        uid.JPEGBaseline8Bit: lambda: _jpeg(cells),
        uid.JPEGExtended12Bit: lambda: _jpeg(cells) if case.bits == 8 else _jpeg_of_blocks(cells),
        ENCAPSULATED_UNCOMPRESSED: cells.tobytes,
        **{syntax: lambda: _by_gdcm(cells, case) for syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1)},
    }
    if case.syntax in by_pydicom:
        dataset.compress(case.syntax, generate_instance_uid=False, **by_pydicom[case.syntax])
    elif case.syntax in by_us:
        frame = by_us[case.syntax]()
        dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    elif case.syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = cells.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = uid.UID(case.syntax)
    dataset.set_original_encoding(case.syntax == uid.ImplicitVRLittleEndian, case.syntax != uid.ExplicitVRBigEndian)


def _jpeg(cells: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(cells).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def _jpeg_of_blocks(cells: np.ndarray) -> bytes:
    """Encode blocks of one value each in 12 bits (ISO/IEC 10918-1 annex F): only a mean per block, quantised by 8.

    GDCM itself writes 16 into a frame header that may say 8 or 12 only.
    """
    means = cells[::8, ::8].astype(np.int64).reshape(-1) - 2048
    codes = ""
    for difference in np.diff(means, prepend=0).tolist():
        category = abs(difference).bit_length()
        codes += f"{category:05b}"
        if category:
            codes += f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}"
        codes += "0"  # end of block
    codes += "1" * (-len(codes) % 8)
    coded = int(codes, 2).to_bytes(len(codes) // 8, "big").replace(b"\xff", b"\xff\x00")
    of_means = bytes([0, 0, 0, 0, 0, 16, *[0] * 11, *range(16)])
    of_rest = bytes([0x10, 1, *[0] * 15, 0])
    return (
        b"\xff\xd8\xff\xdb\0\x43\0"
        + bytes([8] * 64)
        + b"\xff\xc1\0\x0b\x0c"
        + np.array(cells.shape, dtype=">u2").tobytes()
        + b"\x01\x01\x11\0\xff\xc4"
        + (2 + len(of_means) + len(of_rest)).to_bytes(2, "big")
        + of_means
        + of_rest
        + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
        + coded
        + b"\xff\xd9"
    )


def _by_gdcm(cells: np.ndarray, case: Case) -> bytes:
    image, element = gdcm.Image(), gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    image.SetNumberOfDimensions(2)
    image.SetDimensions((cells.shape[1], cells.shape[0], 1))
    depth = gdcm.PixelFormat(1, cells.dtype.itemsize * 8, case.bits, case.bits - 1, int(case.signed))
    image.SetPixelFormat(depth)
    grey = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image.SetPhotometricInterpretation(grey)
    plain = gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian)
    image.SetTransferSyntax(plain)
    element.SetByteStringValue(cells.tobytes())
    image.SetDataElement(element)
    coder, syntax = gdcm.ImageChangeTransferSyntax(), gdcm.TransferSyntax.GetTSType(str(case.syntax))
    target = gdcm.TransferSyntax(syntax)
    coder.SetTransferSyntax(target)
    coder.SetInput(image)
    assert coder.Change(), "GDCM does not encode this"
    output = coder.GetOutput()
    coded = output.GetDataElement()
    fragments = coded.GetSequenceOfFragments()
    fragment = fragments.GetFragment(0)
    value = fragment.GetByteValue()
    _KEPT.append((image, element, depth, grey, plain, coder, target, output, coded, fragments, fragment, value))
    return bytes(value.GetBuffer().encode("utf-8", "surrogateescape"))


def expected() -> dict[str, np.ndarray]:
    """Return the expected pixels of each file."""
    return {name: case.expected.astype(np.float32) for name, case in cases().items()}


def main() -> None:
    """Write every file and ``expected.npz``."""
    for name, case in cases().items():
        write(case, FOLDER / f"{name}.dcm")
    np.savez_compressed(FOLDER / "expected.npz", **expected())


if __name__ == "__main__":
    main()
