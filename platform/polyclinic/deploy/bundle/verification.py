"""Verify a bundle: load it with all checks, and score a synthetic study from file to decision."""

import math
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from polyclinic.deploy.bundle.load import Bundle, load_bundle
from polyclinic.deploy.scores import StudyScores
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.modality import Item, Source, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic.models.build import first_line
from polyclinic.models.class_table import shown

_SEED = 0
_INLINE: tuple[Source, ...] = ({}, "no finding")
"""Sources for plugins whose settings, such as another laboratory panel, do not fit their phantom."""


def verified_bundle(folder: Path, *, dtype: torch.dtype = torch.float64) -> Bundle:
    """Load a bundle, and score a synthetic study with it.

    Args:
        folder: folder written by ``polyclinic bundle export``.
        dtype: precision of the computation.

    Raises:
        ValueError: see ``load_bundle`` and ``check_scores``.
    """
    bundle = load_bundle(folder, dtype=dtype)
    check_scores(bundle)
    return bundle


def check_scores(bundle: Bundle) -> None:
    """Score a synthetic study with all input modalities, and with each alone.

    Raises:
        ValueError: a modality cannot read its own phantom, the scorer fails, or a score is not finite.
    """
    study = {name: _item(name, bundle) for name in bundle.query}
    studies = [study, *({name: item} for name, item in study.items())]
    try:
        scored = StudyScorer(bundle).score(studies)
    except Exception as error:
        raise ValueError(f"the bundle cannot score its built-in study ({first_line(error)}); export it again") from None
    for name, numbers in chain.from_iterable(map(_numbers, scored)):
        if not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"the bundle scores its built-in study with a number that is not finite for {shown(name)}; export it "
                "again"
            )


def _numbers(scores: StudyScores) -> Iterator[tuple[str, list[float]]]:
    """Yield the numbers of each finding and estimate."""
    for finding in scores.findings:
        given = [] if finding.probability is None else [finding.probability]
        yield finding.name, [finding.score, *finding.contributions.values(), *(finding.interval or ()), *given]
    for estimate in scores.estimates:
        yield estimate.name, [estimate.value, *estimate.contributions.values(), *(estimate.interval or ())]


def _item(name: str, bundle: Bundle) -> Item:
    """Prepare a phantom, or an inline source if the plugin cannot read its phantom.

    Raises:
        ValueError: the plugin can prepare neither.
    """
    plugin = bundle.modalities[name]
    physiology = Patient(np.random.default_rng(_SEED)).visit(np.random.default_rng(_SEED))
    problems: list[Exception] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            phantom = plugin.phantom(physiology, np.random.default_rng(_SEED), Path(folder) / "study")
            for source in (phantom, *_INLINE):
                try:
                    return bundle.prepare(name, plugin.read(source))
                except UnreadableSource as error:
                    problems.append(error)
        except Exception as error:
            problems.insert(0, error)
    raise ValueError(
        f"{name} cannot prepare a study with the settings and state of the bundle ({first_line(problems[0])}); export "
        "it again"
    )
