"""Prompt files: sentences for the presence and absence of findings, and the scores computed from them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polyclinic.files.kinds import PROMPTS, refuse_other_kind
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.names import refuse_unknown

VERSION = 1
SCORE_RULES = ("difference", "softmax")
_KEYS = {"version", "modality", "score_rule", "templates", "findings"}
_SIDES = ("positive", "negative")


@dataclass(frozen=True, kw_only=True)
class Phrasings:
    """Phrases for the presence and the absence of one finding."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A validated prompt file.

    Attributes:
        version: format version, 1.
        modality: modality whose plugin and encoder read the sentences.
        score_rule: ``"difference"`` or ``"softmax"``, see ``finding_score``.
        templates: sentences in which ``{}`` is replaced by a phrasing; ``["{}"]`` uses the phrasing unchanged.
        findings: phrasings by label name.
        sha256: SHA-256 of the file's bytes, for the record of a run.
        name: file name.
    """

    version: int
    modality: str
    score_rule: str
    templates: tuple[str, ...]
    findings: Mapping[str, Phrasings]
    sha256: str
    name: str

    def texts(self) -> tuple[str, ...]:
        """Return all sentences to embed, by finding (in file order), positive then negative, phrasing and template."""
        return tuple(
            template.replace("{}", phrasing)
            for finding in self.findings.values()
            for phrasing in (*finding.positive, *finding.negative)
            for template in self.templates
        )

    def columns(self) -> dict[str, tuple[slice, slice]]:
        """Return the slices of ``texts`` with the positive and negative sentences of each finding."""
        counts = {name: (len(phrases.positive), len(phrases.negative)) for name, phrases in self.findings.items()}
        return sentence_columns(counts, len(self.templates))


def sentence_columns(counts: Mapping[str, tuple[int, int]], templates: int) -> dict[str, tuple[slice, slice]]:
    """Return the slices of ``PromptFile.texts`` with the positive and negative sentences of each finding.

    Args:
        counts: numbers of positive and negative phrasings by finding, in file order.
        templates: number of templates; each makes one sentence from a phrasing.
    """
    start, columns = 0, {}
    for name, (positive, negative) in counts.items():
        middle = start + positive * templates
        stop = middle + negative * templates
        columns[name] = (slice(start, middle), slice(middle, stop))
        start = stop
    return columns


def finding_score(positive: Float[Tensor, "*N P"], negative: Float[Tensor, "*N Q"], rule: str) -> Float[Tensor, "*N"]:
    """Combine the scores of a finding's positive and negative sentences; values above 0 favour the finding.

    ``difference`` is the mean positive minus the mean negative score. ``softmax`` is the log-odds of the probability
    that a softmax over all sentences assigns to the positive ones, with equal weight for both sides whatever their
    numbers of sentences. Log-odds rank like the probability but do not saturate at 1.0, where studies would tie.

    Args:
        positive: scores against the P positive sentences, in logits of the objective.
        negative: scores against the Q negative sentences.
        rule: one of ``SCORE_RULES``.

    Raises:
        ValueError: an unknown rule.
    """
    if rule == "difference":
        return positive.mean(dim=-1) - negative.mean(dim=-1)
    if rule == "softmax":
        # Dividing each sum of exponentials by its number of sentences gives both sides the same weight.
        size_ratio = np.log(positive.shape[-1]) - np.log(negative.shape[-1])
        return positive.logsumexp(dim=-1) - negative.logsumexp(dim=-1) - size_ratio
    raise ValueError(f"got score rule {rule!r}, expected one of {SCORE_RULES}; set `score_rule` in the prompt file")


def load_prompts(path: Path) -> PromptFile:
    """Read and validate a prompt file.

    Raises:
        ValueError: the file is not a YAML mapping, a key is missing or unknown, the version or score rule is unknown,
            a template lacks ``{}``, a list is empty, or a phrasing is used twice for one finding.
    """
    refuse_other_kind(path, PROMPTS, "name a prompt file, such as demo/prompts.yaml")
    if not path.is_file():
        raise ValueError(f"prompt file {path.name!r} does not exist; set `prompts` to a YAML file")
    content = path.read_bytes()
    raw = load_yaml(content, name=path.name)
    _check_mapping(path.name, raw, _KEYS)
    if type(raw["version"]) is not int or raw["version"] != VERSION:
        raise ValueError(f"{path.name} has version {raw['version']!r}, expected {VERSION}; set `version: {VERSION}`")
    if not isinstance(raw["modality"], str) or not raw["modality"].strip():
        raise ValueError(
            f"{path.name} has modality {raw['modality']!r}, expected the name of the modality that reads the "
            "sentences; set `modality`, such as `modality: report`"
        )
    if raw["score_rule"] not in SCORE_RULES:
        raise ValueError(
            f"{path.name} has score_rule {raw['score_rule']!r}, expected one of {SCORE_RULES}; set `score_rule`"
        )
    return PromptFile(
        version=raw["version"],
        modality=raw["modality"],
        score_rule=raw["score_rule"],
        templates=_templates(path.name, raw["templates"]),
        findings=_findings(path.name, raw["findings"]),
        sha256=hashlib.sha256(content).hexdigest(),
        name=path.name,
    )


def _check_mapping(where: str, value: Any, keys: set[str]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds {type(value).__name__}, expected a mapping with keys {sorted(keys)}")
    if absent := sorted(keys - set(value)):
        raise ValueError(f"{where} lacks {absent}; set them")
    refuse_unknown(f"key of {where}", map(str, value), sorted(keys), "correct or remove it")


def _texts(where: str, value: Any) -> tuple[str, ...]:
    """Return a non-empty list of distinct sentences."""
    usable = isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value)
    if not usable:
        raise ValueError(
            f"{where} is {value!r}, expected a list of at least one text; set `{where.partition(': ')[2]}`"
        )
    repeated = sorted(text for text, count in Counter(map(_key, value)).items() if count > 1)
    if repeated:
        raise ValueError(f"{where} holds {repeated} more than once; keep one of each")
    return tuple(value)


def _templates(name: str, value: Any) -> tuple[str, ...]:
    templates = _texts(f"{name}: templates", value)
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"{name}: template {template!r} holds '{{}}' {template.count('{}')} times, expected once, for the "
                "phrasing; set `templates`"
            )
    return templates


def _findings(name: str, value: Any) -> dict[str, Phrasings]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{name} has findings {value!r}, expected a mapping from label names; set `findings`")
    findings = {}
    for finding, sides in value.items():
        _check_mapping(f"{name}: findings.{finding}", sides, set(_SIDES))
        positive, negative = (_texts(f"{name}: findings.{finding}.{side}", sides[side]) for side in _SIDES)
        if both := sorted(set(map(_key, positive)) & set(map(_key, negative))):
            raise ValueError(f"{name}: findings.{finding} has {both} on both sides; keep each on one side only")
        findings[str(finding)] = Phrasings(positive=positive, negative=negative)
    return findings


def _key(text: str) -> str:
    """Return the text without differences in case and spacing, by which repeated phrasings are found."""
    return " ".join(text.casefold().split())
