"""De-identified series and NIfTI: no identifier remains, the same voxels lie at the same place."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_series import multiframe, write_series
from polyclinic.modality import Identity, UnreadableSource
from polyclinic_volume import Volume

IDENTITY = Identity(key=b"k" * 32 + b"12345678", patient="P77001122", names=("DOE^JOHN", "P77001122"))
PLANTED = (b"DOE", b"JOHN", b"P77001122", b"2.25.1\0", b"20200131", b"SECRET")


def plant(index: int, dataset: Dataset) -> None:
    dataset.ReferringPhysicianName, dataset.ImageComments = "SECRET^DOC", "seen by SECRET"
    dataset.add_new(0x00091001, "LO", "SECRET")
    item = Dataset()
    item.PatientName = "DOE^JOHN"
    dataset.ReferencedPatientPhotoSequence = [item]


def assert_clean(files: list[Path]) -> None:
    assert files
    for file in files:
        content = file.read_bytes()
        assert not [word for word in PLANTED if word in content]


def test_every_slice_of_a_series_is_cleaned_with_the_same_uids(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=plant)
    volume, out = Volume(), tmp_path / "out"
    out.mkdir()
    (out / "other.dcm").write_bytes(b"another study")
    cleaned = volume.deidentify(folder, out / "a1", IDENTITY, suspects=False)
    assert isinstance(cleaned.source, Path)
    files = list(volume.files(cleaned.source))
    assert [file.name for file in files] == [f"a1-{number:05d}.dcm" for number in range(1, 10)]
    assert_clean(files)
    headers = [dcmread(file) for file in files]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({str(header[keyword].value) for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == len(files)
    assert str(headers[0].SeriesInstanceUID) == IDENTITY.uid("2.25.2")
    before, after = volume.read(folder), volume.read(cleaned.source)
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_allclose(before.affine, after.affine, atol=1e-9)
    assert cleaned.removed


def test_frames_keep_their_places(tmp_path: Path) -> None:
    joined = multiframe(write_series(tmp_path / "s", change=plant), tmp_path / "joined.dcm")
    (tmp_path / "out").mkdir()
    cleaned = Volume().deidentify(joined, tmp_path / "out" / "a", IDENTITY, suspects=False)
    assert isinstance(cleaned.source, Path)
    assert_clean([cleaned.source])
    np.testing.assert_array_equal(Volume().read(joined).values, Volume().read(cleaned.source).values)


def test_slices_with_text_in_their_pixels_are_refused(tmp_path: Path) -> None:
    def burned(index: int, dataset: Dataset) -> None:
        dataset.BurnedInAnnotation = "YES"

    folder = write_series(tmp_path / "s", change=burned)
    with pytest.raises(UnreadableSource, match="text is drawn in its pixels"):
        Volume().deidentify(folder, tmp_path / "a", IDENTITY, suspects=False)
    assert Volume().deidentify(folder, tmp_path / "b", IDENTITY, suspects=True).removed


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_keeps_its_voxels_and_loses_its_texts(tmp_path: Path, name: str, kind: type) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (9, 8, 10)).astype(np.int16)
    image = kind(values, np.diag([-2.0, -2.0, 3.0, 1.0]))
    image.header["descrip"], image.header["aux_file"] = b"DOE^JOHN 20200131", b"SECRET"
    image.header["intent_name"] = b"P77001122"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"patient DOE^JOHN SECRET"))
    nibabel.save(image, tmp_path / name)
    volume = Volume(kind="ct")
    assert "DOE^JOHN 20200131" in list(volume.names(tmp_path / name))
    codes = [issue.code for issue in volume.issues(tmp_path / name, volume.read(tmp_path / name))]
    assert "header-identifiers" in codes
    cleaned = volume.deidentify(tmp_path / name, tmp_path / "out", IDENTITY, suspects=False)
    assert isinstance(cleaned.source, Path)
    content = cleaned.source.read_bytes()
    content = gzip.decompress(content) if name.endswith("gz") else content
    assert not [word for word in PLANTED if word in content]
    again = nibabel.load(cleaned.source)
    np.testing.assert_array_equal(np.asarray(again.dataobj), values)
    np.testing.assert_allclose(again.affine, image.affine)
    assert not again.header.extensions
    assert cleaned.removed == {"texts of a NIfTI header": 3, "extensions of a NIfTI header": 1}


def test_a_scan_of_the_head_is_reported(tmp_path: Path) -> None:
    def head(index: int, dataset: Dataset) -> None:
        dataset.BodyPartExamined = "HEAD"

    folder = write_series(tmp_path / "s", change=head)
    codes = [issue.code for issue in Volume().issues(folder, Volume().read(folder))]
    assert "face" in codes
    assert "header-identifiers" in codes
