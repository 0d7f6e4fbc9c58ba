"""Extent, spacing and kind of a volume by its headers alone."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from polyclinic.modality import UnreadableSource
from polyclinic_volume.reading.geometry import ordered
from polyclinic_volume.reading.nifti import read_header, stated_affine, volume_shape
from polyclinic_volume.reading.reader import is_nifti
from polyclinic_volume.reading.series import kind_of
from polyclinic_volume.reading.sidecar import stated_kind
from polyclinic_volume.reading.slices import series_files
from polyclinic_volume.voxels import Kind


class Extent(NamedTuple):
    """Lengths and voxel sides in mm, along the axes to the right, the front and the head.

    Attributes:
        lengths: extent of the volume.
        spacing: distance between voxels.
        kind: kind of the volume; None where the file does not state it.
    """

    lengths: Float64[np.ndarray, "3"]
    spacing: Float64[np.ndarray, "3"]
    kind: Kind | None


def read_extent(source: Path) -> Extent | None:
    """Return the extent of a volume; None where ``read_volume`` would refuse it, and for several frames in one file."""
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        try:
            if not source.is_dir() and is_nifti(source):
                header = read_header(source).header
                affine, shape, kind = stated_affine(header), volume_shape(header), stated_kind(source)
            else:
                slices = series_files(source).slices
                kind = kind_of(slices)
                places, affine = ordered(slices)
                shape = (places[0].size[1], places[0].size[0], len(places))
        except UnreadableSource:
            return None
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.abs(affine[:3, :3] / spacing).argmax(axis=0)
    order = [int(np.flatnonzero(axes == world)[0]) if world in axes else world for world in range(3)]
    return Extent((spacing * np.array(shape))[order], spacing[order], kind)
