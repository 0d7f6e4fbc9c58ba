"""The prompt file: which sentences stand for a finding and its absence, and how scores are made of them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polyclinic.files.yaml_loader import load_yaml

VERSION = 1
SCORE_RULES = ("difference", "softmax")
_KEYS = {"version", "modality", "score_rule", "templates", "findings"}
_SIDES = ("positive", "negative")


@dataclass(frozen=True, kw_only=True)
class Phrasings:
    """What is said when one finding is present, and when it is absent."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A validated prompt file.

    Attributes:
        version: of the format, 1.
        modality: whose plugin and encoder read the sentences.
        score_rule: ``"difference"`` or ``"softmax"``, see ``finding_scores``.
        templates: sentences in which ``{}`` is replaced by a phrasing; ``["{}"]`` leaves it as it is.
        findings: phrasings by label name.
        sha256: of the file's bytes, for the record of a run.
        name: of the file.
    """

    version: int
    modality: str
    score_rule: str
    templates: tuple[str, ...]
    findings: Mapping[str, Phrasings]
    sha256: str
    name: str

    def texts(self) -> tuple[str, ...]:
        """Every sentence to embed: by finding in file order, positives before negatives, by phrasing, by template."""
        return tuple(
            template.replace("{}", phrasing)
            for finding in self.findings.values()
            for phrasing in (*finding.positive, *finding.negative)
            for template in self.templates
        )

    def columns(self) -> dict[str, tuple[slice, slice]]:
        """Per finding, where its positive and its negative sentences stand in ``texts``."""
        counts = {name: (len(message.positive), len(message.negative)) for name, message in self.findings.items()}
        return sentence_columns(counts, len(self.templates))


def sentence_columns(counts: Mapping[str, tuple[int, int]], templates: int) -> dict[str, tuple[slice, slice]]:
    """Per finding, where its positive and its negative sentences stand in ``PromptFile.texts``.

    Args:
        counts: by finding in file order, numbers of its positive and negative phrasings.
        templates: number of templates, each of which makes a sentence of a phrasing.
    """
    start, columns = 0, {}
    for name, (positive, negative) in counts.items():
        middle = start + positive * templates
        stop = middle + negative * templates
        columns[name] = (slice(start, middle), slice(middle, stop))
        start = stop
    return columns


def finding_score(positive: Float[Tensor, "*N P"], negative: Float[Tensor, "*N Q"], rule: str) -> Float[Tensor, "*N"]:
    """One score from the scores of a finding's positive and negative sentences; above 0 speaks for the finding.

    ``difference`` is the mean positive minus the mean negative score. ``softmax`` is the log-odds of the share that
    a softmax over all sentences gives to the positive ones, each side weighing the same however many sentences it
    has. Log-odds rank like the share and, unlike it, do not run into 1.0 where many studies would tie.

    Args:
        positive: scores against the P positive sentences, in logits as an objective gives them.
        negative: scores against the Q negative sentences.
        rule: one of ``SCORE_RULES``, from the prompt file.

    Raises:
        ValueError: an unknown rule.
    """
    if rule == "difference":
        return positive.mean(dim=-1) - negative.mean(dim=-1)
    if rule == "softmax":
        share = np.log(positive.shape[-1]) - np.log(negative.shape[-1])
        return positive.logsumexp(dim=-1) - negative.logsumexp(dim=-1) - share
    raise ValueError(f"got score rule {rule!r}, expected one of {SCORE_RULES}; set `score_rule` in the prompt file")


def load_prompts(path: Path) -> PromptFile:
    """Read and validate a prompt file.

    Raises:
        ValueError: not a YAML mapping, a key missing or unknown, a version or score rule that is not known, a
            template without ``{}``, an empty list, or a phrasing that is used twice for one finding.
    """
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
    if unknown := sorted(str(key) for key in set(value) - keys):
        raise ValueError(f"{where} has unknown keys {unknown}, expected {sorted(keys)}; remove them")


def _texts(where: str, value: Any) -> tuple[str, ...]:
    """A list of sentences, each said once."""
    usable = isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value)
    if not usable:
        raise ValueError(
            f"{where} is {value!r}, expected a list of at least one text; set `{where.partition(': ')[2]}`"
        )
    repeated = sorted(text for text, count in Counter(map(_key, value)).items() if count > 1)
    if repeated:
        raise ValueError(f"{where} holds {repeated} more than once; leave one of each")
    return tuple(value)


def _templates(name: str, value: Any) -> tuple[str, ...]:
    templates = _texts(f"{name}: templates", value)
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"{name}: template {template!r} holds {template.count('{}')} times '{{}}', expected one, where the "
                "phrasing goes; set `templates`"
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
            raise ValueError(f"{name}: findings.{finding} says {both} on both sides; leave each on one side only")
        findings[str(finding)] = Phrasings(positive=positive, negative=negative)
    return findings


def _key(text: str) -> str:
    """What makes two phrasings the same to a reader: the words, not their case or spacing."""
    return " ".join(text.casefold().split())
