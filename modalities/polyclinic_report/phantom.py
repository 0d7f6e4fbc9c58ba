"""A synthetic report of radiology and cardiology, worded from a latent patient and stored as text."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from polyclinic.modality import Physiology
from polyclinic.modality.physiology import FINDINGS, JOINT_FINDING
from polyclinic_report.phrases import (
    ABSENT_PAIRS,
    ADVERBS,
    CLOSINGS,
    DEGREES,
    FILLERS,
    HEDGES,
    INDICATIONS,
    PHRASES,
    TRAITS,
)

_MENTIONED_PRESENT, _MENTIONED_ABSENT, _MENTIONED_JOINT = 0.9, 0.7, 0.95
_DESCRIBED = 0.7
_MISSED, _MISWORDED = 0.015, 0.015
_DEGREE_STEPS = (0.6, 0.8)
_LINE = 88


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Word the findings and write them; the south's older system stores cp1252 with carriage returns."""
    report = compose_report(physiology, rng)
    if physiology.site == "south":
        path.write_bytes(report.replace("\n", "\r\n").encode("cp1252"))
    else:
        path.write_bytes(report.encode("utf-8"))
    return path


def compose_report(physiology: Physiology, rng: np.random.Generator) -> str:
    """Word a whole report: an indication, findings in random order, and mostly an impression."""
    mentions = draw_mentions(physiology, rng)
    findings = [_state(finding, present, physiology, rng) for finding, present in _alone(mentions, rng)]
    findings += _traits(physiology, rng) + _fillers(rng)
    sections = [("indication", [_choose(INDICATIONS, rng)])] if rng.random() < 0.7 else []
    sections.append(("findings", [findings[place] for place in rng.permutation(len(findings))]))
    if rng.random() < 0.75:
        sections.append(("impression", _impression(mentions, physiology, rng)))
    style = str.upper if rng.random() < 0.6 else str.capitalize
    return "\n\n".join(_section(style(name), sentences) for name, sentences in sections) + "\n"


def draw_mentions(physiology: Physiology, rng: np.random.Generator) -> dict[str, bool]:
    """Which findings the report speaks of, and whether as present; the first thing drawn for a report."""
    draws = rng.random(len(FINDINGS))
    return {
        finding: present
        for (finding, present), draw in zip(physiology.findings().items(), draws, strict=True)
        if draw < (1 - _MISSED) * _rate(finding, present)
    }


def _rate(finding: str, present: bool) -> float:
    if finding == JOINT_FINDING:
        return _MENTIONED_JOINT
    return _MENTIONED_PRESENT if present else _MENTIONED_ABSENT


def _alone(mentions: Mapping[str, bool], rng: np.random.Generator) -> list[tuple[str, bool | str]]:
    """Each mention by itself, or, now and then, two absent findings in one sentence."""
    absent = [finding for finding, present in mentions.items() if not present and finding != JOINT_FINDING]
    if len(absent) < 2 or rng.random() > 0.35:
        return list(mentions.items())
    one, other = (str(name) for name in rng.choice(absent, size=2, replace=False))
    rest = [(finding, present) for finding, present in mentions.items() if finding not in (one, other)]
    return [*rest, (one, other)]


def _state(finding: str, present: bool | str, physiology: Physiology, rng: np.random.Generator) -> str:
    """One sentence; ``present`` names the second finding where two are absent together."""
    phrases = PHRASES[finding]
    if isinstance(present, str):
        return _choose(ABSENT_PAIRS, rng).format(one=phrases.noun, other=PHRASES[present].noun)
    template = _choose(phrases.positive if present else phrases.negative, rng)
    slip = rng.random() < _MISWORDED
    level = _level(getattr(physiology, phrases.process), slip) if phrases.process else 0
    side = physiology.side if present else int(rng.choice([-1, 1]))
    stated = template.format(
        degree=_choose(DEGREES[level], rng) if rng.random() < 0.4 else "",
        adverb=_choose(ADVERBS[level], rng) if rng.random() < 0.4 else "",
        side="left" if (side > 0) != slip else "right",
    )
    if rng.random() < 0.05:
        stated = f"{stated[:-1]}, {_choose(HEDGES, rng)}."
    return " ".join(stated.split())


def _level(severity: float, slip: bool) -> int:
    level = int(np.searchsorted(_DEGREE_STEPS, severity))
    return (2 if level < 2 else 0) if slip else level


def _traits(physiology: Physiology, rng: np.random.Generator) -> list[str]:
    return [
        _choose(wordings[getattr(physiology, trait)], rng)
        for trait, wordings in TRAITS.items()
        if rng.random() < _DESCRIBED
    ]


def _fillers(rng: np.random.Generator) -> list[str]:
    return [FILLERS[place] for place in rng.choice(len(FILLERS), size=int(rng.integers(0, 2)), replace=False)]


def _impression(mentions: Mapping[str, bool], physiology: Physiology, rng: np.random.Generator) -> list[str]:
    """One or two of the mentions, present ones first, worded anew; or nothing but a closing remark."""
    present = [finding for finding, found in mentions.items() if found]
    pool = present or list(mentions)
    if not pool or rng.random() < 0.25:
        return [_choose(CLOSINGS, rng)]
    repeated = rng.choice(pool, size=min(len(pool), int(rng.integers(1, 3))), replace=False)
    return [_state(str(finding), mentions[str(finding)], physiology, rng) for finding in repeated]


def _section(heading: str, sentences: Sequence[str]) -> str:
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    return textwrap.fill(f"{heading}: {text}", _LINE)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
