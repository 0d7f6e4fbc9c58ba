"""The grid of the encoder: the same value at the same place in the patient, windows, and settings from a cohort."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, Spacing
from scipy.ndimage import map_coordinates

from ct_series import field, write_series
from polyclinic.modality.physiology import Patient
from polyclinic_volume import Volume
from polyclinic_volume.features import volume_features
from polyclinic_volume.motion import moved
from polyclinic_volume.resample import on_grid
from polyclinic_volume.voxels import Voxels, reoriented
from polyclinic_volume.windows import WINDOWS, hounsfield, windowed

OBLIQUE = np.array(
    [[1.1, -0.3, 0.0, 5], [0.3, 1.1, 0.2, -8], [0.0, -0.1, 2.0, 3], [0, 0, 0, 1]],
)


def voxels_of(values: np.ndarray, affine: np.ndarray) -> Voxels:
    return Voxels(values.astype(np.float32), np.asarray(affine, dtype=np.float64), "ct", {})


def places_of(voxels: Voxels, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    axes = [
        middle + (np.arange(count) - (count - 1) / 2) * step
        for middle, count, step in zip(voxels.centre, shape, spacing, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@pytest.mark.parametrize("spacing", [(0.9, 1.0, 1.7), (2.5, 2.6, 4.5)])
def test_a_linear_field_has_its_value_at_every_place(spacing: tuple[float, float, float]) -> None:
    shape = (40, 36, 24)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    voxels = voxels_of(field(world[..., 0], world[..., 1], world[..., 2]), OBLIQUE)
    grid = (10, 8, 6)
    sampled = on_grid(voxels, shape=grid, spacing=spacing, outside=-1024.0)
    places = places_of(voxels, grid, spacing)
    expected = field(places[..., 0], places[..., 1], places[..., 2])
    # In float32, coordinates of 40 voxels are exact to 1e-5 of a voxel, and values of 500 to 1e-3.
    np.testing.assert_allclose(sampled, expected, atol=5e-3)


def test_interpolation_equals_scipy_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    voxels = voxels_of(rng.normal(size=(12, 11, 10)), OBLIQUE)
    grid, spacing = (6, 5, 4), (1.0, 1.05, 1.9)
    index = (places_of(voxels, grid, spacing) - OBLIQUE[:3, 3]) @ np.linalg.inv(OBLIQUE[:3, :3]).T
    expected = map_coordinates(voxels.values.astype(float), np.moveaxis(index, -1, 0), order=1)
    np.testing.assert_allclose(on_grid(voxels, shape=grid, spacing=spacing, outside=0.0), expected, atol=1e-5)


def test_reorientation_and_spacing_equal_monai() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(10, 9, 8)).astype(np.float32)
    affine = np.array([[0, -1.0, 0, 4], [-1.5, 0, 0, 9], [0, 0, 2.0, 1], [0, 0, 0, 1]])
    turned, straight = reoriented(values, affine)
    reference = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(
        MetaTensor(values[None], affine=affine)
    )
    np.testing.assert_array_equal(turned, reference[0].numpy())
    np.testing.assert_allclose(straight, reference.affine.numpy())
    fine = Spacing(pixdim=(0.7, 1.1, 1.3), mode="bilinear", padding_mode="border")(reference)
    inside = np.stack(np.meshgrid(*(np.arange(2, side - 3) for side in fine.shape[1:]), indexing="ij"), axis=-1)
    world = inside @ fine.affine.numpy()[:3, :3].T + fine.affine.numpy()[:3, 3]
    index = (world - straight[:3, 3]) @ np.linalg.inv(straight[:3, :3]).T
    ours = map_coordinates(turned.astype(float), np.moveaxis(index, -1, 0), order=1)
    np.testing.assert_allclose(ours, fine[0].numpy()[2:-3, 2:-3, 2:-3], atol=1e-4)


def test_coarse_grids_average_instead_of_skipping() -> None:
    values = np.zeros((64, 64, 32), dtype=np.float32)
    values[::2] = 100.0
    coarse = on_grid(voxels_of(values, np.eye(4)), shape=(8, 8, 4), spacing=(4.0, 4.0, 4.0), outside=0.0)
    np.testing.assert_allclose(coarse, 50.0)


def test_outside_is_air() -> None:
    voxels = voxels_of(np.full((8, 8, 8), 40.0) + np.arange(8), np.eye(4))
    grid = on_grid(voxels, shape=(16, 16, 16), spacing=(2.0, 2.0, 2.0), outside=-1024.0)
    assert (grid[0] == -1024).all()
    assert grid[8, 8, 8] > 0


def test_windows_are_clipped_shares_of_hounsfield_units() -> None:
    values = np.array([-2000, -1350, -600, 150, 250, 1300, 3000], dtype=np.float32)
    np.testing.assert_allclose(windowed(values, WINDOWS["lung"]), [0, 0, 0.5, 1, 1, 1, 1])
    np.testing.assert_allclose(windowed(values, WINDOWS["soft tissue"]), [0, 0, 0, 0.75, 1, 1, 1])
    np.testing.assert_allclose(windowed(values, WINDOWS["bone"]), [0, 0, 0, 650 / 1800, 750 / 1800, 1, 1], rtol=1e-5)
    channels = np.stack([2 * windowed(values, window) - 1 for window in WINDOWS.values()]).reshape(3, -1, 1, 1)
    np.testing.assert_allclose(hounsfield(channels).ravel(), values.clip(-1350, 1300), atol=1e-2)


def test_mr_is_scaled_between_percentiles_of_what_is_no_air(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 20), dtype=np.float32)
    values[5:15, 5:15, 5:15] = np.linspace(200, 1200, 1000).reshape(10, 10, 10)
    item = Volume(kind="mr", size=(24, 24, 24), spacing=(1.0, 1.0, 1.0)).prepare(Voxels(values, np.eye(4), "mr", {}))
    assert item["volume"].shape == (1, 24, 24, 24)
    assert item["volume"][0, 0, 0, 0] == -1
    scaled = Voxels(values * 7, np.eye(4), "mr", {})
    again = Volume(kind="mr", size=(24, 24, 24), spacing=(1.0, 1.0, 1.0)).prepare(scaled)
    torch.testing.assert_close(again["volume"], item["volume"], atol=1e-5, rtol=0)


def test_augmentation_applies_the_drawn_affine_map() -> None:
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 12, 10, 8)).astype(np.float32))
    same = moved(volume, angles=np.zeros(3), scale=1.0, shift=np.zeros(3))
    torch.testing.assert_close(same, volume, atol=1e-5, rtol=0)
    shifted = moved(volume, angles=np.zeros(3), scale=1.0, shift=np.array([2 / 12, 0, -1 / 8]))
    torch.testing.assert_close(shifted[:, :-2, :, 1:], volume[:, 2:, :, :-1], atol=1e-5, rtol=0)
    cube = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 9, 9, 9)).astype(np.float32))
    turned = moved(cube, angles=np.array([0.0, 0.0, np.pi / 2]), scale=1.0, shift=np.zeros(3))
    expected = torch.rot90(cube, 1, dims=(1, 2))
    other = torch.rot90(cube, -1, dims=(1, 2))
    difference = min(float((turned - expected).abs().max()), float((turned - other).abs().max()))
    assert difference < 1e-4


def test_settings_that_are_not_given_come_from_the_headers_of_the_cohort(tmp_path: Path) -> None:
    sources = [write_series(tmp_path / str(number), slices=9 + number) for number in range(3)]
    volume = Volume()
    volume.adapt(sources)
    assert volume.kind == "ct"
    # 10 columns of 0.8 mm, 8 rows of 1.5 mm and 10 slices of 2.5 mm at the finest stored spacing.
    assert volume.spacing == (0.8, 0.8, 0.8)
    assert volume.size == (16, 16, 32)
    assert volume.adapted() == {
        "kind": "ct",
        "size": "16 x 16 x 32 voxels",
        "spacing": "0.8 x 0.8 x 0.8 mm",
    }
    other = Volume()
    other.load_state(volume.state())
    assert (other.kind, other.size, other.spacing) == ("ct", (16, 16, 32), (0.8, 0.8, 0.8))
    item = other.prepare(other.read(sources[0]))
    assert item["volume"].shape == (3, 16, 16, 32)
    given = Volume(size=(16, 16, 16))
    given.adapt(sources)
    assert given.size == (16, 16, 16)
    assert given.spacing == (1.6, 1.6, 1.6)


def test_ct_and_mr_in_one_cohort_are_refused(tmp_path: Path) -> None:
    sources = [write_series(tmp_path / kind, modality=kind) for kind in ("CT", "MR")]
    with pytest.raises(ValueError, match="got CT and MR in one modality of the cohort"):
        Volume().adapt(sources)
    with pytest.raises(ValueError, match="got a scan of kind 'mr', expected 'ct'"):
        Volume(kind="ct").prepare(Volume().read(sources[1]))


@pytest.mark.parametrize(
    "state", [{"kind": "pet"}, {"size": [8, 8]}, {"size": [9, 8, 8]}, {"spacing": [0, 1, 1]}, {"spacing": "1"}]
)
def test_a_wrong_state_is_refused(state: dict) -> None:
    with pytest.raises(ValueError, match="got a state with"):
        Volume().load_state(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "pet"}, "expected 'ct' or 'mr'"),
        ({"size": (20, 16, 16)}, "multiples of `patch`"),
        ({"spacing": (1.0, 0.0, 1.0)}, "set `spacing`"),
        ({"transforms": {"RandZoomd": {}}}, "got transform 'RandZoomd'"),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Volume(**settings)


def test_the_phantom_lies_the_same_way_whatever_its_file(tmp_path: Path) -> None:
    """The heart lies left of the middle, the spine at the back."""
    volume = Volume(kind="ct", size=(24, 24, 16), spacing=(15.0, 13.0, 18.0))
    for seed in range(4):
        patient = Patient(np.random.default_rng(seed)).visit(np.random.default_rng(seed))
        path = volume.phantom(patient, np.random.default_rng(seed), tmp_path / f"s{seed}")
        soft, bone = volume.prepare(volume.read(path))["volume"][1:].numpy()
        middle = soft[:, 12:16, 5:7].mean(axis=(1, 2))
        assert middle[7:11].mean() > middle[13:17].mean()
        assert bone[10:14, :10].max() > bone[10:14, 14:18].max()


def test_features_are_the_same_in_single_and_double_precision() -> None:
    """Constant cells of air would otherwise differ by rounding errors, which standardising magnifies."""
    rng = np.random.default_rng(0)
    volumes = torch.full((3, 3, 16, 20, 24), -1.0) + torch.from_numpy(
        rng.normal(0, 1e-7, (3, 3, 16, 20, 24)).astype(np.float32)
    )
    volumes[1, :, 4:9] = torch.from_numpy(rng.uniform(-1, 1, (3, 5, 20, 24)).astype(np.float32))
    single, double = volume_features(volumes), volume_features(volumes.double())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=0)
    torch.testing.assert_close(single[0], single[2], rtol=0, atol=0)
    torch.testing.assert_close(single[1, :16].sum(), torch.tensor(1.0), atol=1e-3, rtol=0)
