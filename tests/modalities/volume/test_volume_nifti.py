"""NIfTI: values and places as nibabel reads them, and damaged or ambiguous files refused within bounds."""

import gzip
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from polyclinic.modality import UnreadableSource
from polyclinic_volume import Volume
from polyclinic_volume.reading.nifti import read_header

VALUES = np.random.default_rng(0).normal(0, 300, (7, 6, 5)).astype(np.float32)
AFFINE = np.array([[0.0, -1.5, 0, 20], [-2.0, 0, 0, 30], [0, 0, 3.0, -40], [0, 0, 0, 1]])


def write(path: Path, values: np.ndarray = VALUES, affine: np.ndarray | None = AFFINE, **fields: Any) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def refused(path: Path, kind: Any = "ct") -> str:
    with pytest.raises(UnreadableSource) as caught:
        Volume(kind=kind).read(path)
    assert path.name not in str(caught.value)
    return str(caught.value)


def patched(path: Path, offset: int, content: bytes) -> Path:
    stored = bytearray(path.read_bytes())
    stored[offset : offset + len(content)] = content
    path.write_bytes(stored)
    return path


@pytest.mark.parametrize("name", ["a b.nii", "a.nii.gz", "A.NII"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, ">i2"])
def test_values_and_places_are_those_of_nibabel(tmp_path: Path, name: str, dtype: Any) -> None:
    path = write(tmp_path / name.lower(), VALUES.clip(0, 255).astype(dtype)).rename(tmp_path / name)
    voxels = Volume(kind="mr").read(path)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(_plain(path)))
    np.testing.assert_allclose(voxels.values, canonical.get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(voxels.affine, canonical.affine, atol=1e-5)


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ILP"])
def test_any_orientation_gives_the_same_volume(tmp_path: Path, codes: str) -> None:
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    values = nibabel.orientations.apply_orientation(VALUES, turn)
    path = write(tmp_path / "a.nii", np.ascontiguousarray(values), affine @ inv_ornt_aff(turn, VALUES.shape))
    voxels = Volume(kind="ct").read(path)
    np.testing.assert_array_equal(voxels.values, VALUES)
    np.testing.assert_allclose(voxels.affine, affine, atol=1e-5)


def test_stored_values_are_scaled_and_units_are_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    slope = np.array([2.5, -7.0], "<f4").tobytes()
    scaled = Volume(kind="ct").read(patched(path, 112, slope))
    assert (scaled.values.min(), scaled.values.max()) == (-7.0, 10.5)
    metres = write(tmp_path / "m.nii", affine=np.diag([0.002, 0.002, 0.003, 1]), xyzt_units=1)
    np.testing.assert_allclose(Volume(kind="ct").read(metres).spacing, [2, 2, 3], rtol=1e-5)
    silent = Volume(kind="ct").read(path := write(tmp_path / "u.nii", xyzt_units=0))
    assert [issue.code for issue in Volume(kind="ct").issues(path, silent)] == ["few-slices", "unit-of-length"]


@pytest.mark.parametrize("code", [257, 3])
def test_a_second_orientation_that_cannot_be_used_is_reported(tmp_path: Path, code: int) -> None:
    path = write(tmp_path / "a.nii", np.repeat(VALUES, 3, axis=2))
    path = patched(patched(path, 252, np.int16(code).tobytes()), 256, np.array([9.0] * 3, "<f4").tobytes())
    volume = Volume(kind="ct")
    assert "orientation" in [issue.code for issue in volume.issues(path, volume.read(path))]


def test_nifti_two_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(VALUES, AFFINE), tmp_path / "a.nii")
    assert Volume(kind="ct").read(tmp_path / "a.nii").values.shape == (6, 7, 5)


def test_a_kind_has_to_be_stated(tmp_path: Path) -> None:
    assert refused(write(tmp_path / "a.nii"), kind=None) == (
        "NIfTI states neither CT nor MR; set `kind` of the volume plugin"
    )


def test_the_file_of_a_converter_states_the_kind(tmp_path: Path) -> None:
    path, sidecar = write(tmp_path / "a.b.nii.gz"), tmp_path / "a.b.json"
    assert Volume(kind="mr").files(path) == (path,)
    sidecar.write_text('{"Modality": "MR", "EchoTime": 0.03}')
    assert Volume().read(path).kind == "mr"
    assert Volume().files(path) == (sidecar, path)
    assert refused(path, kind="ct") == "got MR, expected CT; set `kind` of the volume plugin"
    adapting = Volume()
    adapting.adapt([path])
    assert adapting.kind == "mr"
    sidecar.write_text('{"EchoTime": 0.03}')
    assert Volume(kind="ct").read(path).kind == "ct"
    for content, message in (
        ('{"Modality": "PT"}', "another modality than CT and MR"),
        ("[" * 100_000, "cannot be read (RecursionError)"),
        ("{", "cannot be read (JSONDecodeError)"),
        ("\xff", "cannot be read (UnicodeDecodeError)"),
        (" " * 2**21, "more than 1,048,576 bytes"),
    ):
        sidecar.write_bytes(content.encode("latin-1"))
        assert message in refused(path)


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        (np.zeros((4, 4, 4, 3), np.int16), {}, "NIfTI of 4 dimensions (4 x 4 x 4 x 3); expected one volume of three"),
        (np.zeros((4, 4), np.int16), {}, "NIfTI of 2 dimensions (4 x 4)"),
        (np.zeros((4, 4, 1), np.int16), {}, "volume of 4 x 4 x 1 voxels; expected sides from 2 to 4096"),
        (np.zeros((4, 4, 4), np.int16), {}, "every voxel has the same value"),
        (np.where(VALUES > 600, np.nan, VALUES), {}, "of the voxels are not finite"),
        (np.where(VALUES > 600, np.inf, VALUES), {}, "of the voxels are not finite"),
        (VALUES * 1e30, {}, "voxels beyond 1e+09"),
        (VALUES.astype(np.complex64), {}, "NIfTI with voxels of type complex64"),
        (VALUES, {"sform_code": 0, "qform_code": 0}, "without a stated orientation"),
        (VALUES, {"xyzt_units": 5}, "unknown unit of length"),
        (VALUES, {"pixdim": [1, 0, 2, 2, 1, 1, 1, 1]}, "spacing that is zero"),
        (VALUES, {"pixdim": [1, np.nan, 2, 2, 1, 1, 1, 1]}, "spacing that is zero, negative or not finite"),
        (VALUES, {"srow_x": [2, 2, 0, 0], "srow_y": [2, 2, 0, 0]}, "90.0 degrees off a right angle"),
        (VALUES, {"srow_x": [0, 0, 0, 0], "srow_y": [0, 2, 0, 0], "srow_z": [0, 0, 2, 0]}, "expected sides from"),
        (VALUES, {"srow_x": [np.nan, 0, 0, 0]}, "not finite"),
        (VALUES, {"srow_x": [2, 0.7, 0, 0], "srow_y": [0, 2, 0, 0], "srow_z": [0, 0, 2, 0]}, "tilted gantry"),
    ],
)
def test_ambiguous_headers_are_refused(
    tmp_path: Path, values: np.ndarray, fields: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a.nii", values, np.eye(4) * [2, 2, 2, 1])
    content = bytearray((tmp_path / "a.nii").read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(content)
    assert message in refused(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:400], "truncated: got 48 of 840 bytes of voxels"),
        (lambda content: content[:340], "truncated, or of a pair"),
        (lambda content: content + b"more", "more bytes than its header states"),
        (lambda content: content[:344] + b"ni1\0" + content[348:], "of a pair of .hdr and .img"),
        (lambda content: content[:42] + b"\xff\x7f" * 3 + content[48:], "sides from 2 to 4096"),
        (lambda content: content[:42] + b"\0\x10" * 3 + content[48:], "expected at most 268,435,456 in all"),
        (lambda content: content[:42] + b"\xff\xff" * 3 + content[48:], "sides from 2 to 4096"),
        (lambda content: content[:40] + b"\x09\0" + content[42:], "header with 9 dimensions"),
        (lambda content: content[:70] + b"\x80\0" + content[72:], "voxels of type"),
        (lambda content: content[:108] + np.float32(1e20).tobytes() + content[112:], "voxels from byte 1e+20 on"),
        (lambda content: content[:108] + np.float32(np.nan).tobytes() + content[112:], "voxels from byte nan on"),
        (lambda content: content[:112] + np.float32(np.inf).tobytes() + content[116:], "scaling of voxels"),
        (lambda content: b"", "not a DICOM file"),
        (lambda content: b"\x5c\x01\0\0", "truncated, or of a pair"),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_damaged_files_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str, is_compressed: bool
) -> None:
    path = write(tmp_path / "doe_john.nii")
    content = change(path.read_bytes())
    if is_compressed:
        path = tmp_path / "doe_john.nii.gz"
        content = gzip.compress(content)
        message = message.replace("not a DICOM file", "not a NIfTI file")
    path.write_bytes(content)
    assert message in refused(path)


def test_a_truncated_or_altered_gzip_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    content = path.read_bytes()
    for changed in (content[:-200], content[:-4], content[:30], content[:-6] + b"\1\1" + content[-4:]):
        path.write_bytes(changed)
        assert "truncated or damaged" in refused(path)


def test_a_gzip_bomb_is_not_inflated(tmp_path: Path) -> None:
    head = _plain(write(tmp_path / "a.nii"))
    bombs = {
        "more bytes than its header states": head + bytes(2**27),
        "not a NIfTI file": bytes(2**27),
    }
    for message, content in bombs.items():
        (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content, 1))
        del content
        tracemalloc.start()
        assert message in refused(tmp_path / "bomb.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()


def test_a_header_is_read_without_its_voxels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    path.write_bytes(gzip.compress(_plain(path)[:360]))
    assert read_header(path).size == VALUES.nbytes
    assert Volume().recognise(path).patient == ""
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"a table, a, b"))
    with pytest.raises(UnreadableSource, match="not a NIfTI file"):
        Volume().recognise(tmp_path / "b.nii.gz")


def test_without_nibabel_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert refused(path) == "got no nibabel, which NIfTI files need; install polyclinic[volume]"
