"""Dictionary transforms of MONAI as augmentations: repeatable, of the same size, by name."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised

from polyclinic_monai.augment import TRANSFORMS, DictionaryTransforms
from polyclinic_volume import Volume
from polyclinic_xray import XRay

ARGUMENTS = {
    "RandCoarseDropoutd": {"holes": 2, "spatial_size": 4},
    "RandCoarseShuffled": {"holes": 2, "spatial_size": 4},
    "RandScaleIntensityd": {"factors": 0.3},
    "RandStdShiftIntensityd": {"factors": 0.3},
    "RandShiftIntensityd": {"offsets": 0.3},
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 16, 16)])
def test_every_transform_repeats_with_its_seed(name: str, shape: tuple[int, ...]) -> None:
    if (name, len(shape)) == ("RandSimulateLowResolutiond", 3):
        pytest.skip("for volumes only")
    image = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))
    before = image.clone()
    varied = DictionaryTransforms({name: {"prob": 1.0, **ARGUMENTS.get(name, {})}})
    once, again = (varied(image, np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    torch.testing.assert_close(image, before, rtol=0, atol=0)
    assert type(once) is torch.Tensor
    assert once.shape == image.shape
    assert torch.isfinite(once).all()


def test_the_result_is_that_of_monai_with_the_drawn_seed() -> None:
    image = torch.zeros(1, 8, 8)
    ours = DictionaryTransforms({"RandGaussianNoised": {"prob": 1.0, "std": 0.5}})(image, np.random.default_rng(9))
    reference = Compose([RandGaussianNoised(keys=["x"], prob=1.0, std=0.5)])
    reference.set_random_state(seed=int(np.random.default_rng(9).integers(2**32)))
    torch.testing.assert_close(ours, torch.as_tensor(reference({"x": image})["x"]), rtol=0, atol=0)


def test_plugins_apply_them_in_training_only() -> None:
    transforms = {"RandCoarseDropoutd": {"prob": 1.0, "holes": 1, "spatial_size": 8, "fill_value": 99.0}}
    items = {
        XRay(size=32, patch=8, transforms=transforms): {"image": torch.zeros(1, 32, 32)},
        Volume(kind="ct", size=(16, 16, 16), transforms=transforms): {"volume": torch.zeros(3, 16, 16, 16)},
    }
    for plugin, item in items.items():
        [value] = plugin.augment(item, np.random.default_rng(0)).values()
        assert float(value.max()) > 90
        assert pickle.loads(pickle.dumps(plugin)).transforms == transforms


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ({"LoadImaged": {}}, "got transform 'LoadImaged', expected one of"),
        ({"Lambdad": {"func": "print"}}, "got transform 'Lambdad'"),
        ({"RandGaussianNoised": {"keys": ["a"]}}, "no mapping without `keys`"),
        ({"RandGaussianNoised": 3}, "no mapping without `keys`"),
    ],
)
def test_other_transforms_are_refused(transforms: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        XRay(transforms=transforms)


def test_wrong_arguments_are_refused_when_they_are_used() -> None:
    with pytest.raises(ValueError, match="refuses its arguments"):
        DictionaryTransforms({"RandGaussianNoised": {"sdt": 1}})(torch.zeros(1, 8, 8), np.random.default_rng(0))


def test_plugins_do_not_import_monai_or_nibabel() -> None:
    program = "import sys, polyclinic_volume, polyclinic_xray; print({'monai', 'nibabel'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "set()"
