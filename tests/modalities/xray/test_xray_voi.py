"""Display values against the formulas of PS3.3 C.11.1 and C.11.2, written out here pixel by pixel."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from polyclinic.modality import UnreadableSource
from polyclinic_xray import XRay

STORED = np.array([[0, 1, 700, 1500], [2047, 2048, 3000, 4095]])


def write(
    path: Path,
    stored: np.ndarray,
    *,
    bits: int = 12,
    signed: bool = False,
    syntax: UID = ExplicitVRLittleEndian,
    **tags: Any,
) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.PatientName = "Doe^John"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = stored.shape[:2]
    allocated = 8 if bits == 8 else 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    for name, value in tags.items():
        setattr(dataset, name, value)
    data = stored.astype(f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, window: int = 0) -> np.ndarray:
    return XRay(size=32, patch=8, window=window).read(path).pixels


def lut(entries: list[int], first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], np.array(entries, dtype="<u2").tobytes()
    return [item]


def by_formula(value: float, centre: float, width: float, function: str = "LINEAR") -> float:
    """Apply C.11.2.1.2.1, C.11.2.1.3.1 or C.11.2.1.3.2 with ymin 0 and ymax 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(-4 * (value - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if value <= centre - width / 2:
        return 0.0
    if value > centre + width / 2:
        return 1.0
    return (value - centre) / width + 0.5


def test_without_a_window_the_stored_range_is_shown_and_monochrome1_inverts_it(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "a.dcm", STORED))
    np.testing.assert_allclose(plain, STORED / 4095, atol=1e-6)
    inverted = read(write(tmp_path / "b.dcm", STORED, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted, 1 - STORED / 4095, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2.5, -1024), (-1, 4095)])
def test_the_window_applies_after_rescale_and_before_inversion(
    tmp_path: Path, function: str, photometric: str, slope: float, intercept: float
) -> None:
    centre, width = 1000, 1800
    path = write(
        tmp_path / "a.dcm",
        STORED,
        PhotometricInterpretation=photometric,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=centre,
        WindowWidth=width,
        VOILUTFunction=function,
    )
    expected = np.vectorize(lambda v: by_formula(v * slope + intercept, centre, width, function))(STORED)
    np.testing.assert_allclose(read(path), 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)


def test_a_negative_slope_without_a_window_inverts_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", STORED, RescaleSlope=-2, RescaleIntercept=100)
    np.testing.assert_allclose(read(path), 1 - STORED / 4095, atol=1e-6)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", STORED, WindowCenter=2048, WindowWidth=1)
    np.testing.assert_array_equal(read(path), STORED > 2047.5)


def test_a_voi_table_takes_precedence_over_a_window(tmp_path: Path) -> None:
    entries = [round(1023 * (i / 99) ** 2) for i in range(100)]
    tags = {"VOILUTSequence": lut(entries, 1000, 10), "WindowCenter": 5, "WindowWidth": 2}
    expected = [[entries[min(max(v - 1000, 0), 99)] / 1023 for v in row] for row in STORED.tolist()]
    np.testing.assert_allclose(read(write(tmp_path / "a.dcm", STORED, **tags)), expected, atol=1e-6)
    inverted = read(write(tmp_path / "b.dcm", STORED, PhotometricInterpretation="MONOCHROME1", **tags))
    np.testing.assert_allclose(inverted, 1 - np.array(expected), atol=1e-6)


def test_a_voi_table_of_eight_bits_may_have_more_than_256_entries(tmp_path: Path) -> None:
    entries = [i * 255 // 4095 for i in range(4096)]
    shown = read(write(tmp_path / "a.dcm", STORED, VOILUTSequence=lut(entries, 0, 8)))
    np.testing.assert_allclose(shown, np.array(entries)[STORED] / 255, atol=1e-6)


def test_the_modality_table_applies_before_the_window(tmp_path: Path) -> None:
    entries = [int(65535 * math.sqrt(i / 4095)) for i in range(4096)]
    tags = {"ModalityLUTSequence": lut(entries, 0, 16)}
    shown = read(write(tmp_path / "a.dcm", STORED, **tags))
    np.testing.assert_allclose(shown, np.array(entries)[STORED] / 65535, atol=1e-6)
    shown = read(write(tmp_path / "b.dcm", STORED, **tags, WindowCenter=30000, WindowWidth=20001))
    expected = [[by_formula(entries[v], 30000, 20001) for v in row] for row in STORED.tolist()]
    np.testing.assert_allclose(shown, expected, atol=1e-6)


@pytest.mark.public_report(7)
@pytest.mark.parametrize(("entry_bits", "declared"), [(8, 16), (10, 16), (10, 12), (12, 16), (12, 12), (16, 12)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_range_of_a_table_follows_the_depth_of_its_entries(
    tmp_path: Path, entry_bits: int, declared: int, photometric: str
) -> None:
    top = 2**entry_bits - 1
    entries = [round(top * i / 4095) for i in range(4096)]
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        tags = {name: lut(entries, 0, declared), "PhotometricInterpretation": photometric}
        expected = np.array(entries)[STORED] / top
        shown = read(write(tmp_path / "a.dcm", STORED, **tags))
        np.testing.assert_allclose(shown, 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)


def test_a_dark_table_of_eight_bits_stays_dark(tmp_path: Path) -> None:
    entries = [i * 100 // 4095 for i in range(4096)]
    shown = read(write(tmp_path / "a.dcm", STORED, VOILUTSequence=lut(entries, 0, 8)))
    np.testing.assert_allclose(shown, np.array(entries)[STORED] / 255, atol=1e-6)


def signed_lut(entries: list[int], first: int, vr: str) -> list[Dataset]:
    (item,) = lut(entries, 0, 12)
    item["LUTDescriptor"] = DataElement("LUTDescriptor", vr, [len(entries), first, 12])
    return [item]


@pytest.mark.public_report(8)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("vr", "first"), [("SS", -1024), ("US", 64512)])
def test_the_first_mapped_value_may_be_negative(tmp_path: Path, syntax: UID, vr: str, first: int) -> None:
    entries = list(range(4096))
    rescaled = {"VOILUTSequence": signed_lut(entries, first, vr), "RescaleSlope": 1, "RescaleIntercept": -1024}
    shown = read(write(tmp_path / "voi.dcm", STORED, syntax=syntax, **rescaled))
    np.testing.assert_allclose(shown, STORED / 4095, atol=1e-6)
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        tags = {name: signed_lut(entries, first, vr)}
        shown = read(write(tmp_path / "signed.dcm", STORED - 1024, bits=16, signed=True, syntax=syntax, **tags))
        np.testing.assert_allclose(shown, STORED / 4095, atol=1e-6)


def test_a_large_first_mapped_value_stays_positive(tmp_path: Path) -> None:
    tags = {"VOILUTSequence": signed_lut(list(range(4096)), 60000, "US")}
    shown = read(write(tmp_path / "a.dcm", STORED + 60000, bits=16, **tags))
    np.testing.assert_allclose(shown, STORED / 4095, atol=1e-6)


def test_a_blank_image_is_refused_with_and_without_padding(tmp_path: Path) -> None:
    padded = np.where(STORED > 2000, 4095, 7)
    cases: list[tuple[np.ndarray, dict[str, Any]]] = [
        (np.full((4, 4), 7), {}),
        (STORED, {"WindowCenter": 60000, "WindowWidth": 2}),
        (padded, {"PixelPaddingValue": 4095}),
        (padded, {"PixelPaddingValue": 7, "PixelPaddingRangeLimit": 4095}),
    ]
    for stored, tags in cases:
        with pytest.raises(UnreadableSource, match="every pixel is shown with the same value"):
            read(write(tmp_path / "a.dcm", stored, **tags))


def test_the_setting_chooses_a_window_and_an_absent_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "doe.dcm", STORED, WindowCenter=[2048, 1000], WindowWidth=[4096, 500])
    expected = [[by_formula(v, 1000, 500) for v in row] for row in STORED.tolist()]
    np.testing.assert_allclose(read(path, window=1), expected, atol=1e-6)
    with pytest.raises(UnreadableSource, match=r"got window 2, but the file has 2 VOI windows; set `window`"):
        read(path, window=2)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"WindowCenter": 9, "WindowWidth": 0}, "WindowWidth 0"),
        ({"WindowCenter": 9, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "WindowWidth 0"),
        ({"WindowCenter": 9, "WindowWidth": 4, "VOILUTFunction": "CUBIC"}, "VOILUTFunction"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "RescaleSlope 0"),
        ({"HighBit": 15}, "HighBit 15"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "missing or invalid"),
    ],
)
def test_what_the_standard_forbids_is_unreadable(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason) as caught:
        read(write(tmp_path / "doe.dcm", STORED, **tags))
    assert "doe" not in str(caught.value).lower()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bits=st.sampled_from([8, 10, 12, 16]), signed=st.booleans())
def test_only_the_stored_bits_contribute(
    tmp_path_factory: pytest.TempPathFactory, data: Any, bits: int, signed: bool
) -> None:
    allocated = 8 if bits == 8 else 16
    cells = np.array(data.draw(st.lists(st.integers(0, 2**allocated - 1), min_size=6, max_size=6))).reshape(2, 3)
    assume(len({*(cells.ravel() % 2**bits).tolist()}) > 1)
    path = write(tmp_path_factory.mktemp("bits") / "a.dcm", cells, bits=bits, signed=signed)
    # Two's complement by definition: the highest stored bit weighs -2^(bits-1), stray bits above it nothing.
    value = sum(((cells >> k) & 1) * 2**k for k in range(bits - 1))
    value = value + ((cells >> (bits - 1)) & 1) * (2 ** (bits - 1)) * (-1 if signed else 1)
    lowest = -(2 ** (bits - 1)) if signed else 0
    np.testing.assert_allclose(read(path), (value - lowest) / (2**bits - 1), atol=1e-6)


def test_palette_and_rgb_become_luminance(tmp_path: Path) -> None:
    red, green, blue = ([0, 65535, 0, 257 * 10], [0, 0, 65535, 257 * 20], [0, 0, 0, 257 * 30])
    tables = {}
    for name, table in (("Red", red), ("Green", green), ("Blue", blue)):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = np.array(table, dtype="<u2").tobytes()
    index = np.array([[0, 1], [2, 3]])
    expected = [[0, 0.299], [0.587, (0.299 * 10 + 0.587 * 20 + 0.114 * 30) / 255]]
    path = write(tmp_path / "a.dcm", index, bits=8, PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_allclose(read(path), expected, atol=1e-5)
    colours = np.array([[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [10, 20, 30]]])
    rgb = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    np.testing.assert_allclose(read(write(tmp_path / "b.dcm", colours, bits=8, **rgb)), expected, atol=1e-5)
    stray = {"bits": 10, "BitsAllocated": 16, **rgb}
    shown = read(write(tmp_path / "c.dcm", (colours * 4) | 0x8400, **stray))
    np.testing.assert_allclose(shown, np.array(expected) * 1020 / 1023, atol=1e-5)
    path = write(tmp_path / "d.dcm", index | 0x8400, bits=10, PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_allclose(read(path), expected, atol=1e-5)


def _palette(entries: list[int], *, first: int = 0, packed: bool) -> dict[str, object]:
    """A grey palette of entries of 8 bits, in bytes or in words."""
    data = np.array(entries, dtype=np.uint8 if packed else "<u2").tobytes()
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    tags: dict[str, object] = {f"{name}Descriptor": [len(entries), first, 8] for name in names}
    return {"PhotometricInterpretation": "PALETTE COLOR", **tags, **{f"{name}Data": data for name in names}}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("first", [0, 100])
def test_an_index_beyond_a_palette_of_bytes_has_its_last_colour(tmp_path: Path, packed: bool, first: int) -> None:
    entries = [*range(0, 200, 2), 255, 17]
    index = np.array([[0, 50, 101], [first + 60, 300, 2000]])
    expected = [[entries[min(max(each - first, 0), 101)] / 255 for each in row] for row in index.tolist()]
    path = write(tmp_path / "a.dcm", index, bits=16, **_palette(entries, first=first, packed=packed))
    np.testing.assert_allclose(read(path), expected, atol=1e-5)


def test_a_palette_of_more_bytes_than_an_index_of_one_is_refused(tmp_path: Path) -> None:
    entries = [number // 2 for number in range(512)]
    index = np.array([[0, 255], [256, 511]])
    with pytest.raises(UnreadableSource, match="got a palette of 512 entries of one byte"):
        read(write(tmp_path / "a.dcm", index, bits=16, **_palette(entries, packed=True)))
    words = read(write(tmp_path / "b.dcm", index, bits=16, **_palette(entries, packed=False)))
    np.testing.assert_allclose(words, [[0, 127 / 255], [128 / 255, 1]], atol=1e-5)


def test_spacing_is_reported_with_the_element_it_comes_from(tmp_path: Path) -> None:
    for tags, element in (({}, "none"), ({"ImagerPixelSpacing": [0.1, 0.1]}, "ImagerPixelSpacing")):
        raw = XRay(size=32, patch=8).read(write(tmp_path / "a.dcm", STORED, **tags))
        assert raw.facts["spacing"] == element


def ellipse(height: int, width: int) -> np.ndarray:
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.where(rows**2 + columns**2 < 0.25, 3000, 100)


def extent(square: np.ndarray) -> tuple[int, int]:
    """Measure the height and width of the bright area."""
    bright = square > (square.min() + square.max()) / 2
    return int(bright.any(axis=1).sum()), int(bright.any(axis=0).sum())


@pytest.mark.public_report(24)
@pytest.mark.parametrize(
    "tags",
    [
        {"PixelSpacing": [0.4, 0.2]},
        {"ImagerPixelSpacing": [0.4, 0.2]},
        {"NominalScannedPixelSpacing": [0.4, 0.2]},
        {"PixelAspectRatio": [2, 1]},
        {"PixelAspectRatio": [1, 3], "PixelSpacing": [0.4, 0.2]},
        {"PixelSpacing": [0, 0], "PixelAspectRatio": [2, 1]},
    ],
)
def test_a_circle_of_oblong_pixels_is_shown_round(tmp_path: Path, tags: dict[str, Any]) -> None:
    plugin = XRay(size=64, patch=8)
    raw = plugin.read(write(tmp_path / "a.dcm", ellipse(60, 120), **tags))
    height, width = extent(plugin.prepare(raw)["image"][0].numpy())
    assert abs(height - width) <= 1
    height, width = extent(np.asarray(plugin.view(raw).grey))
    assert abs(height - width) <= 2


@pytest.mark.parametrize("spacing", [[0, 0.2], [-0.4, 0.2], [5, 1e-9], [1e400, 1]])
def test_unusable_spacing_is_ignored_and_reported(tmp_path: Path, spacing: list[float]) -> None:
    plugin = XRay(size=64, patch=8)
    path = write(tmp_path / "a.dcm", ellipse(150, 150), PixelSpacing=[0.5, 0.5])
    content = path.read_bytes()
    assert content.count(b"0.5\\0.5 ") == 1
    text = "\\".join("inf" if each > 1e300 else f"{each:g}" for each in spacing).encode()[:8].ljust(8)
    path.write_bytes(content.replace(b"0.5\\0.5 ", text))
    raw = plugin.read(path)
    assert raw.pixel_aspect == 1.0
    assert "pixel-spacing" in {issue.code for issue in plugin.issues(path, raw)}
