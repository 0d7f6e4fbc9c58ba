"""A spectrogram that a model filled in, to be looked at and kept."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

_RANGE = 3.0


def draw_mel(mel: Float[np.ndarray, "M F"], *, hop: float, axes: Axes, colours: str = "cividis") -> None:
    """Draw time against bands, low ones at the bottom; hidden frames (NaN) stay blank."""
    extent = (0, len(mel) * hop / 1000, 0, mel.shape[1])
    axes.imshow(mel.T, origin="lower", aspect="auto", cmap=colours, vmin=-_RANGE, vmax=_RANGE, extent=extent)
    axes.set_facecolor("#cfe3f2")
    axes.set(xlabel="seconds", ylabel="mel band")


def write_mel(mel: Float[np.ndarray, "M F"], *, hop: float, unit: str, path: Path) -> Path:
    """Write a table of one row per frame and one column per band, with a heading that says what it is."""
    written = path.with_name(f"{path.name}.csv")
    seconds = np.arange(len(mel)) * hop / 1000
    bands = ",".join(f"mel{band}" for band in range(mel.shape[1]))
    heading = f"# SYNTHETIC: predicted by a model from other modalities, never recorded; {unit}\nseconds,{bands}"
    table = np.column_stack([seconds, mel])
    np.savetxt(written, table, fmt="%.4f", delimiter=",", header=heading, comments="", encoding="utf-8")
    return written
