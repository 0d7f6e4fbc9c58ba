"""DICOM series: every voxel lies where the headers say, and what is no complete volume is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_series import AXIAL, GAP, SLICES, SPACING, field, multiframe, write_series
from polyclinic.modality import UnreadableSource
from polyclinic_volume import Volume
from polyclinic_volume.voxels import Voxels

OBLIQUE = (0.9396926208, 0.3420201433, 0.0, -0.3420201433, 0.9396926208, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
LYING = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
STEP = 0.05
"""Half of the largest slope, by which stored values are rounded."""


def refused(source: Path, volume: Volume | None = None) -> str:
    with pytest.raises(UnreadableSource) as caught:
        (volume or Volume()).read(source)
    message = str(caught.value)
    assert "DOE" not in message
    assert "P77001122" not in message
    assert str(source) not in message
    return message


def expected_values(voxels: Voxels) -> np.ndarray:
    """Return the field at the place of every voxel by its affine map."""
    places = np.stack(np.meshgrid(*map(np.arange, voxels.values.shape), indexing="ij"), axis=-1)
    world = places @ voxels.affine[:3, :3].T + voxels.affine[:3, 3]
    return np.asarray(field(world[..., 0], world[..., 1], world[..., 2]))


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, CORONAL, SAGITTAL, LYING])
def test_every_voxel_lies_where_the_headers_say(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    voxels = Volume().read(write_series(tmp_path / "a series", orientation=orientation))
    np.testing.assert_allclose(voxels.values, expected_values(voxels), atol=STEP)
    assert voxels.kind == "ct"
    assert (np.abs(voxels.affine[:3, :3]).argmax(axis=0) == np.arange(3)).all()
    assert (voxels.affine[:3, :3].diagonal() > 0).all()
    assert sorted(voxels.spacing.round(6)) == sorted([*SPACING, GAP])


def test_the_axial_series_is_compared_by_hand(tmp_path: Path) -> None:
    voxels = Volume().read(write_series(tmp_path / "s"))
    # The first pixel of the first slice lies 20 mm to the right, 15 mm to the back and 40 mm up.
    index = np.linalg.inv(voxels.affine) @ [20.0, -15.0, 40.0, 1.0]
    right, front, head = index[:3].round().astype(int)
    assert voxels.values[right, front, head] == pytest.approx(3 * 20 + 2 * 15 + 5 * 40 + 100, abs=STEP)
    # Columns count to the left, rows to the back.
    assert voxels.values[right - 1, front, head] == pytest.approx(3 * (20 - 0.8) + 2 * 15 + 5 * 40 + 100, abs=STEP)
    assert voxels.values[right, front - 1, head] == pytest.approx(3 * 20 + 2 * 16.5 + 5 * 40 + 100, abs=STEP)
    assert voxels.values[right, front, head + 1] == pytest.approx(3 * 20 + 2 * 15 + 5 * 42.5 + 100, abs=STEP)


def test_a_file_stands_for_its_series_beside_another_one(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "all", name="{index:03d}.dcm")

    def other(index: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "2.25.9", f"2.25.99{index}"

    write_series(folder, change=other, name="b{index:03d}", slices=5)
    (folder / "notes.txt").write_text("no image")
    assert refused(folder) == "2 series in the folder; expected one series, so name a file of the one to read"
    voxels = Volume().read(folder / "004.dcm")
    assert voxels.values.shape[2] == SLICES
    assert Volume().read(folder / "b001").values.shape[2] == 5
    files = Volume().files(folder / "004.dcm")
    assert [file.name for file in files] == [f"{number:03d}.dcm" for number in range(1, SLICES + 1)]
    assert Volume().files(folder) == (folder,)


def test_several_frames_equal_several_files(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    joined = multiframe(folder, tmp_path / "joined.dcm")
    for name in ("cut", "bare"):
        (tmp_path / name).mkdir()
    one, other = Volume().read(folder), Volume().read(joined)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)
    dataset = dcmread(joined)
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    dataset.save_as(tmp_path / "cut" / "a.dcm")
    assert "9 frames of 160 bytes" in refused(tmp_path / "cut" / "a.dcm")
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(tmp_path / "bare" / "a.dcm")
    assert "without position, orientation and spacing of each" in refused(tmp_path / "bare" / "a.dcm")


def test_mr_is_read_in_the_units_of_its_scanner_and_only_where_it_is_expected(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", modality="MR", change=lambda _, each: each.__delattr__("RescaleType"))
    voxels = Volume().read(folder)
    assert voxels.kind == "mr"
    np.testing.assert_allclose(voxels.values, expected_values(voxels), atol=STEP)
    assert refused(folder, Volume(kind="ct")) == "got MR, expected CT; set `kind` of the volume plugin"


def at(number: int, **elements: object) -> Callable[[int, Dataset], None]:
    def change(index: int, dataset: Dataset) -> None:
        if index == number:
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)

    return change


def everywhere(**elements: object) -> Callable[[int, Dataset], None]:
    def change(index: int, dataset: Dataset) -> None:
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at(2, SeriesInstanceUID="2.25.8"), "2 series in the folder"),
        (at(2, PatientID="P88"), "slices of 2 patients"),
        (at(2, StudyInstanceUID="2.25.8"), "slices of 2 studies"),
        (at(2, Modality="MR"), "slices of 2 modalities"),
        (at(2, FrameOfReferenceUID="2.25.8"), "slices of 2 frames of reference"),
        (at(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "1 of 9 slices are localizers"),
        (at(2, ImageOrientationPatient=list(OBLIQUE)), "different orientations"),
        (at(2, PixelSpacing=[1.5, 0.9]), "different pixel spacings"),
        (everywhere(PixelSpacing=[0, 0]), "slices of different pixel spacings in one series; expected one, above zero"),
        (everywhere(PixelSpacing=None), "9 of 9 slices state no usable pixel spacing"),
        (at(3, ImagePositionPatient=None), "1 of 9 slices state no usable position"),
        (everywhere(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "9 of 9 slices state no usable orientation"),
        (at(3, ImagePositionPatient=[-20, 15, 40]), "1 slices lie at the place of another"),
        (at(3, ImagePositionPatient=[-20, 15, 47.9]), "gaps between slices from 2.1 to 2.9 mm"),
        (everywhere(Modality="DX"), "another modality than CT and MR"),
        (everywhere(RescaleIntercept=None), "without Rescale Slope and Intercept"),
        (everywhere(RescaleType="OD"), "other units than Hounsfield units"),
        (at(4, RescaleSlope=0), "Rescale Slope or Intercept that is zero"),
        (at(4, PixelData=b"\0\0"), "pixel data cannot be decoded"),
        (everywhere(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "cannot be decoded"),
        (everywhere(Rows=60_000, Columns=60_000), "expected sides from 2 to 4096"),
        (everywhere(Rows=4096, Columns=4096), "pixel data"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, change: Callable[[int, Dataset], None], message: str) -> None:
    assert message in refused(write_series(tmp_path / "s", change=change))


def test_missing_slices_and_a_tilted_gantry_are_refused(tmp_path: Path) -> None:
    message = refused(write_series(tmp_path / "gap", leave_out=(4,)))
    assert message.startswith("gaps between slices from 2.5 to 5 mm; expected equal ones, so a slice is missing")
    assert "by 15.0 degrees, as with a tilted gantry" in refused(
        write_series(tmp_path / "tilt", shear=(0.0, GAP * np.tan(np.radians(15)), 0.0))
    )
    assert refused(write_series(tmp_path / "one", slices=1)) == "a series of 1 slice; expected a volume of 2 or more"
    assert "expected at most" in refused(
        write_series(tmp_path / "huge", slices=20, change=everywhere(Rows=4096, Columns=4096))
    )


def test_repeated_instance_numbers_are_ordered_by_position_and_reported(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=everywhere(InstanceNumber=1))
    voxels = Volume().read(folder)
    np.testing.assert_allclose(voxels.values, expected_values(voxels), atol=STEP)
    assert "instance-number" in [issue.code for issue in Volume().issues(folder, voxels)]


def test_folders_without_a_series_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "doe john"
    empty.mkdir()
    assert refused(empty).startswith("no DICOM slices in the folder")
    (empty / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0" * 60)
    assert "1 DICOM files of the folder have a header that cannot be read" in refused(empty)
    assert refused(tmp_path / "gone") == "file cannot be opened (FileNotFoundError)"


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    other = write_series(tmp_path / "other")
    moved = folder / "slice 004.dcm"
    moved.unlink()
    moved.symlink_to(other / "slice 004.dcm")
    assert refused(folder).startswith("1 links lead out of the folder")
    assert "a slice is missing" in refused(folder / "slice 001.dcm")


def test_a_file_that_changes_after_the_folder_was_listed_is_noticed(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    Volume().read(folder)
    times = folder.stat()
    dataset = dcmread(folder / "slice 003.dcm")
    dataset.ImagePositionPatient = [0, 0, 0]
    with (folder / "slice 003.dcm").open("r+b") as stream:
        dataset.save_as(stream)
    os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert refused(folder) == "a slice changed while its series was read"
