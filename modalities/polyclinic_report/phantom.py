"""Synthetic report of radiology and cardiology, worded from a latent patient."""

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

_PRESENT_RATE, _ABSENT_RATE, _JOINT_RATE = 0.9, 0.7, 0.95
_TRAIT_RATE = 0.7
_MISS_RATE, _ERROR_RATE = 0.015, 0.015
_DEGREE_STEPS = (0.6, 0.8)
_LINE_WIDTH = 88


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Write a report; the older system of site south stores cp1252 with carriage returns."""
    report = compose_report(physiology, rng)
    if physiology.site == "south":
        path.write_bytes(report.replace("\n", "\r\n").encode("cp1252"))
    else:
        path.write_bytes(report.encode("utf-8"))
    return path


def compose_report(physiology: Physiology, rng: np.random.Generator) -> str:
    """Compose a report: mostly an indication, findings in random order, and mostly an impression."""
    mentions = draw_mentions(physiology, rng)
    findings = [_state(finding, present, physiology, rng) for finding, present in _joined(mentions, rng)]
    findings += _traits(physiology, rng) + _fillers(rng)
    sections = [("indication", [_choose(INDICATIONS, rng)])] if rng.random() < 0.7 else []
    sections.append(("findings", [findings[place] for place in rng.permutation(len(findings))]))
    if rng.random() < 0.75:
        sections.append(("impression", _impression(mentions, physiology, rng)))
    style = str.upper if rng.random() < 0.6 else str.capitalize
    return "\n\n".join(_section(style(name), sentences) for name, sentences in sections) + "\n"


def draw_mentions(physiology: Physiology, rng: np.random.Generator) -> dict[str, bool]:
    """Draw the findings that the report mentions, as present or absent; the first draw of a report."""
    draws = rng.random(len(FINDINGS))
    return {
        finding: present
        for (finding, present), draw in zip(physiology.findings().items(), draws, strict=True)
        if draw < (1 - _MISS_RATE) * _rate(finding, present)
    }


def _rate(finding: str, present: bool) -> float:
    if finding == JOINT_FINDING:
        return _JOINT_RATE
    return _PRESENT_RATE if present else _ABSENT_RATE


def _joined(mentions: Mapping[str, bool], rng: np.random.Generator) -> list[tuple[str, bool | str]]:
    """Return the mentions; sometimes two absent findings are joined, as the finding and the name of the other."""
    absent = [finding for finding, present in mentions.items() if not present and finding != JOINT_FINDING]
    if len(absent) < 2 or rng.random() > 0.35:
        return list(mentions.items())
    first, second = (str(name) for name in rng.choice(absent, size=2, replace=False))
    others = [(finding, present) for finding, present in mentions.items() if finding not in (first, second)]
    return [*others, (first, second)]


def _state(finding: str, present: bool | str, physiology: Physiology, rng: np.random.Generator) -> str:
    """Word one sentence; ``present`` is the second finding if two are absent together."""
    phrases = PHRASES[finding]
    if isinstance(present, str):
        return _choose(ABSENT_PAIRS, rng).format(one=phrases.noun, other=PHRASES[present].noun)
    template = _choose(phrases.positive if present else phrases.negative, rng)
    slip = rng.random() < _ERROR_RATE
    level = _level(getattr(physiology, phrases.process), slip) if phrases.process else 0
    side = physiology.side if present else int(rng.choice([-1, 1]))
    sentence = template.format(
        degree=_choose(DEGREES[level], rng) if rng.random() < 0.4 else "",
        adverb=_choose(ADVERBS[level], rng) if rng.random() < 0.4 else "",
        side="left" if (side > 0) != slip else "right",
    )
    if rng.random() < 0.05:
        sentence = f"{sentence[:-1]}, {_choose(HEDGES, rng)}."
    return " ".join(sentence.split())


def _level(severity: float, slip: bool) -> int:
    level = int(np.searchsorted(_DEGREE_STEPS, severity))
    return (2 if level < 2 else 0) if slip else level


def _traits(physiology: Physiology, rng: np.random.Generator) -> list[str]:
    return [
        _choose(wordings[getattr(physiology, trait)], rng)
        for trait, wordings in TRAITS.items()
        if rng.random() < _TRAIT_RATE
    ]


def _fillers(rng: np.random.Generator) -> list[str]:
    return [FILLERS[place] for place in rng.choice(len(FILLERS), size=int(rng.integers(0, 2)), replace=False)]


def _impression(mentions: Mapping[str, bool], physiology: Physiology, rng: np.random.Generator) -> list[str]:
    """Repeat one or two mentions, present ones first, in other words; or write a closing remark."""
    present = [finding for finding, found in mentions.items() if found]
    pool = present or list(mentions)
    if not pool or rng.random() < 0.25:
        return [_choose(CLOSINGS, rng)]
    repeated = rng.choice(pool, size=min(len(pool), int(rng.integers(1, 3))), replace=False)
    return [_state(str(finding), mentions[str(finding)], physiology, rng) for finding in repeated]


def _section(heading: str, sentences: Sequence[str]) -> str:
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    return textwrap.fill(f"{heading}: {text}", _LINE_WIDTH)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
