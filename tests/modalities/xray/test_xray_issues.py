"""Issues of a radiograph: each planted one is found, and a clean image has none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from polyclinic.modality.physiology import Patient
from polyclinic_xray import XRay
from polyclinic_xray.reading.burned_in import find_strokes, find_words
from polyclinic_xray.reading.renderings import stretched

REAL = Path(__file__).parents[4] / "shared/real/figure1/images"
SECRET = "DOE^JOHN"
CORNERS = ["left top", "right top", "left bottom", "right bottom"]


def phantom(folder: Path, seed: int = 0) -> Path:
    patient = Patient(np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    return XRay().phantom(patient.visit(rng), rng, folder / f"study{seed}")


def issues(path: Path) -> dict[str, tuple[str, str]]:
    """Return severity and message by code; no message holds the planted name."""
    plugin = XRay()
    issues_by_code = {issue.code: (issue.severity, issue.message) for issue in plugin.issues(path, plugin.read(path))}
    assert not any("DOE" in message or "JOHN" in message for _, message in issues_by_code.values())
    return issues_by_code


def edited(folder: Path, edit: Callable[[Dataset], None]) -> Path:
    path = phantom(folder)
    dataset = pydicom.dcmread(path)
    edit(dataset)
    dataset.save_as(path)
    return path


def drawn(pixels: np.ndarray, words: str, corner: str, *, height: int, ink: float) -> np.ndarray:
    """Draw words into a corner, as an archive burns them in."""
    image = Image.fromarray(pixels.astype(np.float32))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(height)
    left, _, right, bottom = draw.textbbox((0, 0), words, font=font)
    x = 4 if "left" in corner else image.width - 4 - (right - left)
    y = 4 if "top" in corner else image.height - 6 - bottom
    draw.text((x, y), words, fill=ink, font=font)
    return np.array(image)


def test_phantoms_have_no_issues(tmp_path: Path) -> None:
    assert [issues(phantom(tmp_path, seed)) for seed in range(10)] == [{}] * 10


def _set(**elements: object) -> Callable[[Dataset], None]:
    return lambda dataset: dataset.update(
        {pydicom.datadict.tag_for_keyword(name): _element(name, value) for name, value in elements.items()}
    )


def _element(keyword: str, value: object) -> pydicom.DataElement:
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    return pydicom.DataElement(tag, pydicom.datadict.dictionary_VR(tag), value)


@pytest.mark.parametrize(
    ("elements", "code", "message"),
    [
        ({"PatientName": SECRET}, "header-identifiers", "the header names a person in PatientName"),
        ({"PatientBirthDate": "19500203"}, "header-identifiers", "the header names a person in PatientBirthDate"),
        (
            {"OtherPatientNames": SECRET, "PatientAddress": f"{SECRET} street"},
            "header-identifiers",
            "the header names a person in OtherPatientNames, PatientAddress",
        ),
        (
            {"ImageComments": f"seen {SECRET}", "PatientComments": "MRN 12345"},
            "header-identifiers",
            "the header names a person in PatientComments (record number), ImageComments (name)",
        ),
        ({"BurnedInAnnotation": "YES"}, "burned-in-annotation", "the header says BurnedInAnnotation YES"),
    ],
)
def test_a_header_that_names_a_person_is_reported_with_its_elements(
    tmp_path: Path, elements: dict[str, object], code: str, message: str
) -> None:
    assert issues(edited(tmp_path, _set(**elements))) == {code: ("warning", message)}


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientName": ""},
        {"PatientName": "ANONYMOUS^^"},
        {"PatientName": "Anonymized", "PatientBirthDate": ""},
        {"PatientName": "___", "PatientID": "XXX"},
        {"PatientID": "4711", "AccessionNumber": "12", "PatientIdentityRemoved": "YES"},
        {"BurnedInAnnotation": "NO"},
        {"PatientID": "1b4e28ba-2fa1-11d2-883f-0016d3cca427"},
    ],
)
def test_blanks_and_pseudonyms_are_not_reported(tmp_path: Path, elements: dict[str, object]) -> None:
    assert issues(edited(tmp_path, _set(**elements))) == {}


def test_register_numbers_are_a_note(tmp_path: Path) -> None:
    message = "the header holds PatientID, AccessionNumber, and does not say that they are pseudonyms"
    issues_found = issues(edited(tmp_path, _set(PatientID=SECRET, AccessionNumber="12")))
    assert issues_found == {"header-numbers": ("note", message)}


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("bits", [8, 16])
def test_words_burned_into_a_corner_are_suspected(tmp_path: Path, corner: str, bits: int) -> None:
    plugin = XRay()
    path = phantom(tmp_path)
    pixels = drawn(plugin.read(path).pixels, "DOE JOHN 03.02.1950", corner, height=16, ink=1.0)
    top = 2**bits - 1
    Image.fromarray(np.round(pixels * top).astype(np.uint8 if bits == 8 else np.uint16)).save(tmp_path / "burned.png")
    assert set(issues(tmp_path / "burned.png")) == {"burned-in-text"}


@pytest.mark.parametrize("scale", [1, 4, 10])
@pytest.mark.parametrize("ink", [0.0, 1.0])
def test_words_in_black_or_white_are_suspected_at_any_image_size(scale: int, ink: float) -> None:
    """Uses a smooth background in the middle of the range, so that both inks stand out."""
    side = 224 * scale
    ramp = np.linspace(0.3, 0.7, side)[:, None] * np.linspace(0.8, 1.2, side)
    assert not find_strokes(ramp.astype(np.float32))
    burned = drawn(ramp, "DOE JOHN", "left top", height=14 * scale, ink=ink)
    assert find_strokes(burned)


def test_side_markers_wires_and_noise_are_not_words() -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(0.4, 0.02, (512, 512)).clip(0, 1)
    marked = drawn(ground, "R", "right top", height=30, ink=1.0)
    marked[100:104, 50:400] = 1.0
    marked[200:400, 30:33] = 1.0
    noise = rng.random((512, 512), dtype=np.float32)
    for pixels in (marked, noise, np.zeros((64, 64), np.float32), np.eye(3, dtype=np.float32)):
        assert not find_words([pixels, *stretched(pixels)])


def test_words_are_found_in_the_incomplete_last_tiles_of_a_large_image() -> None:
    ground = np.full((2999, 2001), 0.5)
    assert not find_strokes(ground.astype(np.float32))
    assert find_strokes(drawn(ground, "DOE JOHN", "right bottom", height=60, ink=1.0))
    assert find_strokes(drawn(ground, "DOE JOHN", "right bottom", height=18, ink=1.0))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs are not here")
def test_public_radiographs_with_words_are_suspected() -> None:
    """Uses four radiographs of each kind, judged by eye, that differ in size, device and hospital."""
    worded, plain = ("00001", "00005", "00029", "00043b"), ("00006", "00017", "00025", "00047")
    for name in (*worded, *plain):
        (path,) = REAL.glob(f"COVID-{name}.*")
        assert bool(find_strokes(XRay().read(path).pixels)) == (name in worded), name


def test_clipping_and_tiny_images_are_reported(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 200), (200, 1)).astype(np.uint8)
    for name, change, code, severity, message in [
        ("dark", np.where(ramp < 110, 0, ramp), "clipped-image", "warning", "darkest value"),
        ("bright", np.where(ramp > 190, 255, ramp), "clipped-image", "warning", "brightest value"),
        ("tiny", ramp[:100, ::2], "tiny-image", "warning", "100 x 100 pixels"),
    ]:
        scattered = change.copy()
        if name in ("dark", "bright"):  # in the middle columns, so that it is not a border
            scattered = np.roll(change, 100, axis=1)
        Image.fromarray(scattered.astype(np.uint8)).save(tmp_path / f"{name}.png")
        issues_found = issues(tmp_path / f"{name}.png")
        assert list(issues_found) == [code], name
        assert issues_found[code][0] == severity
        assert message in issues_found[code][1]


def test_a_black_border_of_collimation_is_not_clipping(tmp_path: Path) -> None:
    image = np.zeros((400, 400), np.uint8)
    image[100:300, 100:300] = np.tile(np.linspace(1, 255, 200), (200, 1))
    Image.fromarray(image).save(tmp_path / "framed.png")
    assert issues(tmp_path / "framed.png") == {}


def test_rasters_that_name_a_person_beside_the_pixels_are_reported(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.linspace(0, 255, 200), (200, 1)).astype(np.uint8))
    text = PngInfo()
    text.add_text("Patient Name", SECRET)
    image.save(tmp_path / "text.png", pnginfo=text)
    exif = Image.Exif()
    exif[0x013B], exif[0x010E] = SECRET, "MRN: 4711"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    image.save(tmp_path / "exif.jpg", exif=exif)
    image.save(tmp_path / "comment.jpg", comment=f"DOB: 03.02.1950 {SECRET}".encode())
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "plain.jpg")
    assert {path.name: issues(path) for path in sorted(tmp_path.iterdir())} == {
        "comment.jpg": {
            "header-identifiers": ("warning", "the file names a person in text (date of birth), text (name)")
        },
        "exif.jpg": {
            "header-identifiers": (
                "warning",
                "the file names a person in Artist, the GPS position, text (record number)",
            )
        },
        "plain.jpg": {},
        "plain.png": {},
        "text.png": {"header-identifiers": ("warning", "the file names a person in text (name)")},
    }


def test_stored_as_names_the_transfer_syntax_even_of_a_broken_file(tmp_path: Path) -> None:
    plugin = XRay()
    plain = phantom(tmp_path)
    assert plugin.stored_as(plain) == f"Explicit VR Little Endian ({ExplicitVRLittleEndian})"
    (tmp_path / "cut.dcm").write_bytes(plain.read_bytes()[:700])
    assert plugin.stored_as(tmp_path / "cut.dcm") == f"Explicit VR Little Endian ({ExplicitVRLittleEndian})"
    jpeg = Path(str(get_testdata_file("MR_small_jp2klossless.dcm")))
    assert plugin.stored_as(jpeg) == f"{JPEG2000Lossless.name} ({JPEG2000Lossless})"
    unknown = plain.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.1\0")
    (tmp_path / "unknown.dcm").write_bytes(unknown)
    assert plugin.stored_as(tmp_path / "unknown.dcm") == "1.2.3.4.5.6.7.8.9.1"
    secret = plain.read_bytes().replace(b"1.2.840.10008.1.2.1\0", f"{SECRET:<20}".encode())
    (tmp_path / "secret.dcm").write_bytes(secret)
    assert plugin.stored_as(tmp_path / "secret.dcm") == "dicom without a transfer syntax"
    for name, content, message in [
        ("a.png", b"\x89PNG\r\n", "png"),
        ("b.jpg", b"\xff\xd8\xff", "jpeg"),
        ("c", b"", ""),
    ]:
        (tmp_path / name).write_bytes(content)
        assert plugin.stored_as(tmp_path / name) == message
    assert plugin.stored_as("inline") == ""
    assert ImplicitVRLittleEndian.name
