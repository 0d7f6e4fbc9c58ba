"""Dictionary transforms of MONAI as augmentations, by name and drawn from a generator of NumPy."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

TRANSFORMS = (
    *("RandGaussianNoised", "RandRicianNoised", "RandGibbsNoised", "RandGaussianSmoothd", "RandGaussianSharpend"),
    *("RandAdjustContrastd", "RandScaleIntensityd", "RandShiftIntensityd", "RandStdShiftIntensityd"),
    *("RandBiasFieldd", "RandHistogramShiftd", "RandCoarseDropoutd", "RandCoarseShuffled", "RandAffined"),
    *("RandGridDistortiond", "RandSimulateLowResolutiond"),
)
"""Random transforms that return an image of the same size. The table is closed, as bundles store the settings."""

_KEY = "image"


class DictionaryTransforms:
    """Random transforms of one image, one after the other.

    MONAI is imported when the first image is transformed.

    Args:
        transforms: arguments of each transform by its name in ``TRANSFORMS``, without ``keys``.

    Raises:
        ValueError: a name is unknown, or the arguments are not a mapping.
    """

    def __init__(self, transforms: Mapping[str, Mapping[str, Any]]) -> None:
        for name, arguments in transforms.items():
            if name not in TRANSFORMS:
                raise ValueError(f"got transform {name!r}, expected one of {', '.join(TRANSFORMS)}; set `transforms`")
            if not isinstance(arguments, Mapping) or "keys" in arguments:
                raise ValueError(f"got arguments of {name!r} that are no mapping without `keys`; set `transforms`")
        self._transforms = {name: dict(arguments) for name, arguments in transforms.items()}
        self._composed: Any = None

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return a varied copy of an image [C ...]; all randomness is drawn from one seed.

        Raises:
            ValueError: MONAI is not installed, an argument does not fit its transform, or the result has another size.
        """
        seed = int(rng.integers(2**32))
        composed = self._build()
        composed.set_random_state(seed=seed)
        result = composed({_KEY: image.clone()})[_KEY]
        varied = torch.as_tensor(getattr(result, "array", result)).to(image.dtype)
        if varied.shape != image.shape:
            raise ValueError(
                f"got an image of {tuple(varied.shape)} from the transforms, expected {tuple(image.shape)}; set "
                "`transforms`"
            )
        return varied

    def __getstate__(self) -> dict[str, Any]:
        """Leave MONAI's objects out, which another process builds again."""
        return {"_transforms": self._transforms, "_composed": None}

    def _build(self) -> Any:
        if self._composed is None:
            try:
                library = import_module("monai.transforms")
            except ModuleNotFoundError:
                message = "got no monai, which `transforms` needs; install polyclinic[volume] or remove `transforms`"
                raise ValueError(message) from None
            try:
                steps = [getattr(library, name)(keys=[_KEY], **each) for name, each in self._transforms.items()]
            except (TypeError, ValueError) as error:
                raise ValueError(f"a transform of MONAI refuses its arguments ({error}); set `transforms`") from None
            self._composed = library.Compose(steps)
        return self._composed
