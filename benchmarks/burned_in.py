"""Recall and precision of the detection of burned-in words on public chest radiographs.

The images are those of the Figure 1 COVID-19 Chest X-ray Dataset Initiative, which are not part of this project. The
environment variable ``FIGURE1`` is the parent of their folder ``images``, by default ``../shared/real/figure1``.
Without the images, nothing is measured.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure
from polyclinic_xray import XRay
from polyclinic_xray.reading.burned_in import find_words, words_in

COMMAND = "python -m benchmarks burned_in"
FOLDER = Path(os.environ.get("FIGURE1", "../shared/real/figure1")) / "images"

# Judged by eye on enlargements of all 55 images, before character recognition was run on any. An image has burned-in
# text if letters or digits other than one side letter (L, R) are drawn in it, even if cut or mirrored. Scales
# without letters, side letters and implants do not count.
TRUTH: Mapping[str, str] = {
    "COVID-00001": "MOBILE, AP ERECT",
    "COVID-00002": "AP ERECT, RESUS",
    "COVID-00003a": "AP ERECT, 100 mm",
    "COVID-00003b": "MOBILE, AP ERECT, 120 mm",
    "COVID-00004": "PA PA, exposure in small print",
    "COVID-00005": "Zittend",
    "COVID-00006": "",
    "COVID-00007": "cqT 20 43 47 and two cut lines",
    "COVID-00008": "hrs, cut",
    "COVID-00009": "PORTABLE SEM, cut",
    "COVID-00010": "Port, A, W/GR, SITT, cut",
    "COVID-00011": "DAM, mirrored",
    "COVID-00012": "DIR. ORTO",
    "COVID-00013a": "AP PORT UPR",
    "COVID-00013b": "AP PORT UPR",
    "COVID-00014": "cm, of a scale",
    "COVID-00015a": "a date and time, DRX and a number, both cut",
    "COVID-00015b": "UPRIGHT",
    "COVID-00016": "Left, TH, UPRIGHT cut",
    "COVID-00017": "",
    "COVID-00018": "the first letters of six lines, cut",
    "COVID-00019": "AP, PORT",
    "COVID-00020": "",
    "COVID-00021": "",
    "COVID-00022": "SN",
    "COVID-00023": "",
    "COVID-00024": "",
    "COVID-00025": "",
    "COVID-00026": "",
    "COVID-00027": "AL LETTO",
    "COVID-00028": "",
    "COVID-00029": "A LETTO",
    "COVID-00030": "",
    "COVID-00031": "",
    "COVID-00032": "",
    "COVID-00033": "",
    "COVID-00034": "DX",
    "COVID-00035": "",
    "COVID-00036": "",
    "COVID-00037": "",
    "COVID-00038": "A LETTO, its lower half",
    "COVID-00039a": "MOBILE, AP ERECT, 100 mm",
    "COVID-00039b": "ERECT, MOBILE, D3",
    "COVID-00039c": "MOBILE, AP ERECT, 120 mm",
    "COVID-00040a": "",
    "COVID-00040b": "",
    "COVID-00041": "AP ERECT",
    "COVID-00042": "PA, ERECT cut",
    "COVID-00043a": "PORTABLE, UPRIGHT",
    "COVID-00043b": "PORTABLE, UPRIGHT",
    "COVID-00044": "",
    "COVID-00045": "PORT, SITTING, cut",
    "COVID-00046": "",
    "COVID-00047": "",
    "COVID-00048": "PORTABLE, AP, at the limit of legibility",
}


def measure() -> list[Figure]:
    """Measure recall and precision of each rule and of both together, and the time of both on one core.

    The confidence threshold is the default of the library, and a word has at least two letters; neither was chosen on
    these images. The image size for recognition was chosen on them: at 2000 pixels, unlike at 1024, large letters were
    missed. The stroke rule was developed on these images.
    """
    paths = {path.stem: path for path in sorted(FOLDER.glob("COVID-*"))}
    if missing := sorted(set(TRUTH) - set(paths)):
        sys.stderr.write(f"burned_in: {len(missing)} of {len(TRUTH)} images are absent; set FIGURE1 to their folder\n")
        return []
    suspected: dict[str, set[str]] = {"strokes": set(), "ocr": set(), "union": set()}
    seconds = []
    plugin = XRay()
    find_words([np.eye(64, dtype=np.float32)])  # loads the models before the timing
    for name in TRUTH:
        raw = plugin.read(paths[name])
        started = time.process_time()
        rules = frozenset[str]().union(*(word.rules for word in words_in(paths[name], raw)))
        seconds.append(time.process_time() - started)
        for rule in rules | ({"union"} if rules else set()):
            suspected[rule].add(name)
    figures = [
        figure for rule, names in suspected.items() for figure in _figures("" if rule == "union" else f"_{rule}", names)
    ]
    mean = Figure(name="burned_in.seconds_per_image", value=float(np.mean(seconds)), unit="core s", command=COMMAND)
    return [*figures, mean]


def _figures(rule: str, suspected: set[str]) -> list[Figure]:
    worded = {name for name, text in TRUTH.items() if text}
    hits, alarms = len(worded & suspected), len(suspected - worded)
    shares = {"recall": hits / len(worded), "precision": hits / max(len(suspected), 1)}
    for kind, names in (("missed", worded - suspected), ("without words", suspected - worded)):
        sys.stderr.write(f"burned_in{rule}: {len(names)} {kind}: {', '.join(sorted(names)) or 'none'}\n")
    return [
        *(
            Figure(name=f"burned_in.{kind}{rule}", value=share, unit="", command=COMMAND)
            for kind, share in shares.items()
        ),
        Figure(name=f"burned_in.false_alarms{rule}", value=alarms, unit="images", command=COMMAND),
    ]
