"""Draw one study of the phantom cohort from its files."""

import textwrap
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyclinic.cohort import read_cohort
from polyclinic.cohort.phantom import default_modalities
from polyclinic_audio.recording import Recording
from polyclinic_ecg.recording import LEADS, Electrocardiogram
from polyclinic_tabular.row import Row

_SHOWN_LEADS = ("I", "II", "aVF", "V1", "V5")
_SECONDS, _LEAD_HEIGHT = 5, 2.0
_FINDINGS = 4
_WIDTH = 62


def draw_study(cohort: Path, out: Path) -> Path:
    """Draw a training study that has every modality and some findings, and write it as a PNG file."""
    cohort_spec = read_cohort(cohort)
    complete = [study for study in cohort_spec.split("train") if len(study.sources) == len(cohort_spec.modalities)]
    study = min(complete, key=lambda study: abs(sum(study.labels) - _FINDINGS))
    names = [name.replace("_", " ") for name, label in zip(cohort_spec.labels, study.labels, strict=True) if label]
    figure = Figure(figsize=(14, 9), layout="constrained")
    figure.suptitle(f"{study.study_id}: {', '.join(names)}")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(4, 5, 5))
    image, laboratory = left.subplots(2, 1, height_ratios=(3, 2))
    signal, sound = middle.subplots(2, 1, height_ratios=(3, 2))
    plugins = default_modalities(list(cohort_spec.modalities))
    raws: dict[str, Any] = {name: plugin.read(study.sources[name]) for name, plugin in plugins.items()}
    image.imshow(raws["xray"].pixels, cmap="gray", vmin=0, vmax=1)
    image.set_title("X-ray (DICOM)")
    image.axis("off")
    _ecg(signal, raws["ecg"])
    _audio(sound, raws["audio"])
    _laboratory(laboratory, plugins["tabular"].numeric, raws["tabular"])
    right.suptitle("report", fontsize=12)
    right.text(0.02, 0.93, _wrapped(raws["report"].text), va="top", family="monospace", fontsize=8)
    figure.savefig(out, dpi=100)
    return out


def _ecg(axes: Axes, raw: Electrocardiogram) -> None:
    time = np.arange(int(_SECONDS * raw.rate)) / raw.rate
    for place, lead in enumerate(_SHOWN_LEADS):
        axes.plot(time, raw.signal[LEADS.index(lead), : len(time)] - place * _LEAD_HEIGHT, color="#0072B2", lw=0.8)
    axes.set_yticks([-place * _LEAD_HEIGHT for place in range(len(_SHOWN_LEADS))], _SHOWN_LEADS)
    axes.set(title=f"ECG (WFDB), {_LEAD_HEIGHT:g} mV between leads", xlabel="seconds", xlim=(0, _SECONDS))
    axes.grid(alpha=0.3)


def _audio(axes: Axes, raw: Recording) -> None:
    axes.specgram(raw.samples, NFFT=256, noverlap=192, Fs=raw.rate, cmap="cividis", vmin=-120)
    axes.set(title="breath sounds (WAV)", xlabel="seconds", ylabel="Hz", ylim=(0, 1500))


def _laboratory(axes: Axes, names: Sequence[str], raw: Row) -> None:
    values = zip(names, raw.values, strict=True)
    cells = [[name, "missing" if np.isnan(value) else f"{value:g}"] for name, value in values]
    table = axes.table(cells, colLabels=["laboratory", "value"], loc="center", cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    axes.axis("off")


def _wrapped(text: str) -> str:
    """Return a text with each paragraph wrapped to the width of the column."""
    return "\n\n".join(textwrap.fill(" ".join(part.split()), _WIDTH) for part in text.split("\n\n"))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path, help="cohort.yaml of a synthetic cohort with all modalities")
    parser.add_argument("out", type=Path, help="PNG file to write")
    print(draw_study(**vars(parser.parse_args())))
