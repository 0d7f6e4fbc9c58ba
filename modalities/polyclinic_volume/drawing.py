"""Draw volumes: three middle slices beside each other, relevance over them, and imputed volumes."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from polyclinic.modality import HEAT, LONGEST_SIDE, OnPicture, Picture, relative_relevance
from polyclinic_volume.reading.nifti import write_nifti
from polyclinic_volume.resample import on_grid
from polyclinic_volume.tokens import Sides
from polyclinic_volume.voxels import Voxels
from polyclinic_volume.windows import SHOWN, mr_range, outside_of, windowed

_MAX_OPACITY = 0.6
_SHOWN_SIDE = 256
_PLANES = "middle axial, coronal and sagittal slice"


def montage(
    axial: Float[np.ndarray, "X Y"], coronal: Float[np.ndarray, "X Z"], sagittal: Float[np.ndarray, "Y Z"], fill: float
) -> Float[np.ndarray, "H W"]:
    """Put three planes side by side as radiologists see them: the patient's right or front on the left, head up."""
    planes = [axial.T[::-1, ::-1], coronal.T[::-1, ::-1], sagittal.T[::-1, ::-1]]
    height = max(plane.shape[0] for plane in planes)
    padded = [np.pad(plane, ((0, height - plane.shape[0]), (0, 0)), constant_values=fill) for plane in planes]
    return np.concatenate(padded, axis=1)


def view_volume(voxels: Voxels, *, size: Sides, spacing: tuple[float, float, float]) -> Picture:
    """Draw the middle slices of the grid that the encoder sees, several times as finely.

    Args:
        voxels: decoded volume.
        size: sides of the grid in voxels.
        spacing: spacing of the grid in mm.
    """
    window = SHOWN if voxels.kind == "ct" else mr_range(voxels)
    times = max(1, min(_SHOWN_SIDE // max(size), LONGEST_SIDE // (2 * size[0] + size[1])))
    fine, step = [side * times for side in size], [each / times for each in spacing]
    planes = []
    for flat in (2, 1, 0):
        shape = [1 if axis == flat else side for axis, side in enumerate(fine)]
        plane = on_grid(
            voxels,
            shape=(shape[0], shape[1], shape[2]),
            spacing=(step[0], step[1], step[2]),
            outside=outside_of(voxels),
        )
        planes.append(windowed(plane, window).squeeze(flat))
    grey = (montage(planes[0], planes[1], planes[2], 0.0) * 255).round().astype(np.uint8)
    return Picture(grey=grey[:LONGEST_SIDE, :LONGEST_SIDE], caption=_caption(voxels, window, size, spacing))


def locate_blocks(relevance: Float[Tensor, " T"], *, size: Sides, patch: int) -> OnPicture:
    """Return the relevance of tokens over the three slices of the view, the largest along each line of sight."""
    cube = block_cube(relevance, size=size, patch=patch)
    return OnPicture(strength=montage(cube.max(axis=2), cube.max(axis=1), cube.max(axis=0), 0.0))


def block_cube(relevance: Float[Tensor, " T"], *, size: Sides, patch: int) -> Float[np.ndarray, "X Y Z"]:
    """Return the relevance of a grid of tokens relative to the largest, by cubes of the default encoder.

    Tokens of other encoders lie on a coarser or finer grid of the same volume; a class token before them is dropped.

    Raises:
        ValueError: the number of tokens fits no grid of the volume, or a relevance cannot be drawn.
    """
    strength = relative_relevance(relevance)
    grid = (size[0] // patch, size[1] // patch, size[2] // patch)
    found = grid_of(len(strength), size=size, patch=patch)
    cube = torch.from_numpy(strength[len(strength) - int(np.prod(found)) :].reshape(found))
    return np.asarray(F.interpolate(cube[None, None], size=grid, mode="nearest-exact")[0, 0].numpy())


def grid_of(tokens: int, *, size: Sides, patch: int) -> Sides:
    """Return the grid of a number of tokens: that of the default encoder, else of a network with another stride.

    Raises:
        ValueError: no stride gives this number.
    """
    for stride in (patch, *range(1, max(size) + 1)):
        for rounded in (lambda side, by: -(-side // by), lambda side, by: max(1, side // by)):
            grid = (rounded(size[0], stride), rounded(size[1], stride), rounded(size[2], stride))
            if tokens in (int(np.prod(grid)), int(np.prod(grid)) + 1):
                return grid
    sides = " x ".join(map(str, size))
    raise ValueError(
        f"got the relevance of {tokens} tokens, expected one for each block of {sides} voxels; give a row of "
        "`token_relevance`"
    )


def draw_volume(volume: Float[Tensor, "C X Y Z"], axes: Axes) -> None:
    """Draw the middle slices of the mean of the channels in grey; hidden voxels (NaN) stay blank."""
    mean = volume.mean(dim=0).numpy()
    middle = [side // 2 for side in mean.shape]
    picture = montage(mean[:, :, middle[2]], mean[:, middle[1]], mean[middle[0]], -1.0)
    axes.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_facecolor("#cfe3f2")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_heat(relevance: Float[Tensor, " T"], *, size: Sides, patch: int, axes: Axes) -> None:
    """Draw the relevance of blocks over the slices of ``draw_volume``."""
    strength = locate_blocks(relevance, size=size, patch=patch).strength
    heat = to_rgba_array(HEAT, alpha=strength.ravel() * _MAX_OPACITY).reshape(*strength.shape, 4)
    height, width = (side * patch for side in strength.shape)
    axes.imshow(heat, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")


def write_imputed(
    values: Float[np.ndarray, "X Y Z"], *, spacing: tuple[float, float, float], unit: str, path: Path
) -> Path:
    """Write predicted voxels as NIfTI around the origin, whose header says that they are synthetic."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(values.shape) - 1) / 2
    description = f"SYNTHETIC: predicted from other modalities, never recorded; {unit}"
    return write_nifti(path.with_name(f"{path.name}.nii"), values, affine, description=description)


def _caption(voxels: Voxels, window: tuple[float, float], size: Sides, spacing: tuple[float, float, float]) -> str:
    sides, steps = " x ".join(map(str, voxels.values.shape)), " x ".join(f"{step:.2g}" for step in voxels.spacing)
    extent = " x ".join(f"{side * step / 10:.0f}" for side, step in zip(size, spacing, strict=True))
    unit = "HU" if voxels.kind == "ct" else "units of the scanner"
    scale = f"{voxels.kind.upper()}, level {window[0]:.0f} and width {window[1]:.0f} {unit}"
    return f"{_PLANES} of {extent} cm around the centre, from {sides} voxels of {steps} mm; {scale}"
