"""The format of ``bundle.json``: dataclasses with value ranges, decision rules, and the published JSON Schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from scipy.special import expit

from polyclinic.deploy.bundle.files import CONTENT
from polyclinic.deploy.scores import Decision
from polyclinic.nn import SIZES
from polyclinic.prompts import PromptFile, sentence_columns
from polyclinic.system.terminal import printable

_HIDDEN = r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc"
"""Control characters above ASCII, and those that are invisible or change the direction of text."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=500, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
"""A line that is safe to show in a terminal and on a page."""

Sentence: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Text: TypeAlias = Annotated[str, Field(max_length=20_000, pattern=rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$")]
"""Text of several lines, safe to show in a terminal and on a page."""

Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=1 << 16)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Distance: TypeAlias = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

ScoreRule: TypeAlias = Annotated[str, Field(pattern="^(difference|softmax)$")]
Weights: TypeAlias = Annotated[str, Field(pattern="^(float32|bfloat16|int8)$")]

_Side: TypeAlias = Annotated[str, Field(pattern="^(positive|negative)$")]
Phrasings: TypeAlias = Annotated[dict[_Side, Annotated[list[Sentence], Field(min_length=1)]], Field(min_length=2)]

_OfEstimate: TypeAlias = Annotated[str, Field(pattern="^(value|low|high)$")]
Estimate: TypeAlias = Annotated[dict[_OfEstimate, Share], Field(min_length=3)]

_OfMeasured: TypeAlias = Annotated[str, Field(pattern="^(auroc|n|n_positive)$")]
Measured: TypeAlias = Annotated[dict[_OfMeasured, Count | Estimate | None], Field(min_length=3)]

_OfPlugin: TypeAlias = Annotated[str, Field(pattern="^(plugin|settings|state)$")]
Plugin: TypeAlias = Annotated[dict[_OfPlugin, Any], Field(min_length=3)]

_OfClass: TypeAlias = Annotated[str, Field(pattern="^(class_path|init_args)$")]
Class: TypeAlias = Annotated[dict[_OfClass, Any], Field(min_length=1)]


STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Exactly the declared keys, without type conversion, with finite numbers."""


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Calibration, threshold and conformal limits of one finding and one subset of modalities, learned on validation.

    Attributes:
        positives: number of validation studies with these modalities and the finding.
        negatives: number of validation studies with these modalities and without the finding.
        auroc: value and 95 % interval on these studies; None if a class is missing.
        slope: slope of Platt scaling, from score to log-odds; None without a fit.
        intercept: intercept of Platt scaling; None without a fit.
        threshold: probability at and above which the finding counts as present; None without one.
        absent_up_to: largest score whose prediction set holds "absent" (split conformal); None if all sets do.
        present_from: smallest score whose prediction set holds "present"; None if all sets do.
        problem: reason why the evidence does not support a decision; None if it does.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    positives: Count
    negatives: Count
    auroc: tuple[Share, Share, Share] | None
    slope: Number | None
    intercept: Number | None
    threshold: Share | None
    absent_up_to: Number | None
    present_from: Number | None
    problem: Text | None

    def probability(self, score: float) -> float | None:
        """Return the calibrated probability of a score; None without a fit."""
        if self.slope is None or self.intercept is None:
            return None
        return float(expit(self.slope * score + self.intercept))

    def possible(self, score: float) -> tuple[Decision, ...]:
        """Return the prediction set of a score."""
        absent = self.absent_up_to is None or score <= self.absent_up_to
        present = self.present_from is None or score >= self.present_from
        decisions: tuple[tuple[Decision, bool], ...] = (("absent", absent), ("present", present))
        return tuple(decision for decision, included in decisions if included)


def probability_intervals(
    scores: Float[np.ndarray, " F"], draws: Float[np.ndarray, "F R 2"]
) -> list[tuple[float, float] | None]:
    """Return the central 95 % interval of each probability over calibrations of resampled validation patients.

    Args:
        scores: score of each finding.
        draws: slope and intercept of each resample; NaN without a fit.

    Returns:
        An interval per finding; None if more than half of its resamples have no fit.
    """
    # Sorted, with NaN last: quantiles by linear interpolation between the ``fitted`` first values of each row.
    probabilities = np.sort(expit(draws[..., 0] * scores[:, None] + draws[..., 1]), axis=1)
    fitted = (~np.isnan(probabilities)).sum(axis=1)
    positions = (fitted - 1).clip(min=0)[:, None] * np.array([0.025, 0.975])
    below = np.floor(positions).astype(int)
    above = np.minimum(below + 1, (fitted - 1).clip(min=0)[:, None])
    left, right = np.take_along_axis(probabilities, below, axis=1), np.take_along_axis(probabilities, above, axis=1)
    ends = left + (right - left) * (positions - below)
    enough = fitted >= max(1, probabilities.shape[1] // 2)
    return [(float(low), float(high)) if valid else None for (low, high), valid in zip(ends, enough, strict=True)]


FORMAT = 1
SCHEMA = "bundle.schema.json"
"""File beside this module: the JSON Schema of ``bundle.json``."""

JOINT = "+"
_MAX_LOCATION_LENGTH = 200
_UNPRINTABLE = "has characters that are not printed safely, or is not of the expected form"
NOT_A_DEVICE = (
    "This is research software and not a medical device. It must not be used to diagnose, treat or triage a patient."
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Provenance of a bundle.

    Attributes:
        checkpoint_sha256: SHA-256 of the ``.ckpt`` file.
        run_id: id of the training run; None if it was not tracked.
        trained_on: fingerprint of the training cohort.
        evaluated_on: fingerprint of the cohort on which the bundle was calibrated and evaluated.
        cohort: name of that cohort.
        commit: commit of the code that exported the bundle, with "+" if it was modified; None outside git.
        version: version of polyclinic.
        date: date of the export in UTC.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    checkpoint_sha256: Digest
    run_id: Name | None
    trained_on: Name
    evaluated_on: Name
    cohort: Name
    commit: Name | None
    version: Name
    date: Name


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Description of the model, from which it is built.

    Attributes:
        modalities: ``plugin``, ``settings`` and ``state`` by modality.
        encoders: class and settings of each encoder that is not the default of its plugin.
        size: size of the default encoders.
        embedding: width of the shared embedding space; None if encoders end in it.
        hidden: hidden width of the projection heads; 0 for linear heads.
        objective: class and settings of the objective.
        weights: type of the stored matrices, one of ``files.WEIGHT_DTYPES``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    modalities: dict[Name, Plugin]
    encoders: dict[Name, Class]
    size: Name
    embedding: Width | None
    hidden: Annotated[int, Field(ge=0, le=1 << 16)]
    objective: Class
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The embedded prompts.

    Attributes:
        modality: prompt modality, whose encoder embedded the prompts.
        score_rule: score rule, see ``finding_score``.
        sha256: SHA-256 of the prompt file.
        templates: templates of the prompt file.
        findings: ``positive`` and ``negative`` phrasings of the prompt file, by finding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    modality: Name
    score_rule: ScoreRule
    sha256: Digest
    templates: Annotated[list[Sentence], Field(min_length=1)]
    findings: Annotated[dict[Name, Phrasings], Field(min_length=1)]

    @classmethod
    def of(cls, file: PromptFile) -> "Prompts":
        """Return the prompts of a prompt file."""
        return cls(
            modality=file.modality,
            score_rule=file.score_rule,
            sha256=file.sha256,
            templates=list(file.templates),
            findings={
                name: {"positive": list(message.positive), "negative": list(message.negative)}
                for name, message in file.findings.items()
            },
        )

    def columns(self) -> dict[str, tuple[slice, slice]]:
        """Return the rows of the positive and of the negative sentences in the embeddings, by finding."""
        counts = {name: (len(message["positive"]), len(message["negative"])) for name, message in self.findings.items()}
        return sentence_columns(counts, len(self.templates))


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """The content of ``bundle.json``.

    Attributes:
        format: version of the format, 1.
        name: name of the bundle.
        intended_use: statement of the intended use.
        not_a_device: statement that the bundle is not a medical device.
        origin: provenance of the bundle.
        architecture: description of the model.
        prompts: prompts of the findings.
        query: input modalities, in order.
        alpha: share of each class that the prediction sets may miss.
        rules: decision rules by subset key (modalities joined by "+" in the order of ``query``), then by finding.
        limits: distance by modality beyond which a study is out of distribution.
        performance: ``auroc`` (value, low, high), ``n`` and ``n_positive`` on the test split, by finding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format: int
    name: Name
    intended_use: Text
    not_a_device: Text
    origin: Origin
    architecture: Architecture
    prompts: Prompts
    query: Annotated[list[Name], Field(min_length=1, max_length=16)]
    alpha: Share
    rules: dict[Name, dict[Name, DecisionRule]]
    limits: dict[Name, Distance]
    performance: dict[Name, Measured]

    def as_bytes(self) -> bytes:
        """Return the content of the file. It holds no paths, patients or NaN."""
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()


def schema_text() -> str:
    """Return the published JSON Schema of ``bundle.json``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(BundleContent).json_schema()}
    return json.dumps(schema, indent=1) + "\n"


def read_content(raw: bytes) -> BundleContent:
    """Read ``bundle.json``.

    Raises:
        ValueError: the content is not JSON of this format, or a key or value is missing, unknown or out of range.
    """
    try:
        content = TypeAdapter(BundleContent).validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = printable(".".join(map(str, first["loc"])))[:_MAX_LOCATION_LENGTH]
        message = _UNPRINTABLE if first["type"] == "string_pattern_mismatch" else printable(first["msg"])
        raise ValueError(f"{CONTENT}: {where}: {message}; use the version of polyclinic that wrote it") from None
    if content.format != FORMAT:
        raise ValueError(
            f"{CONTENT} has format {content.format}, expected {FORMAT}; use the version of polyclinic that wrote it"
        )
    _check(content)
    return content


def subset_key(names: Sequence[str], query: Sequence[str]) -> str:
    """Return the key of a set of modalities in ``BundleContent.rules``."""
    return JOINT.join(name for name in query if name in names)


def _check(content: BundleContent) -> None:
    """Check that the parts are consistent with each other."""
    modalities, findings = content.architecture.modalities, set(content.prompts.findings)
    query = content.query
    if len(set(query)) < len(query) or not set(query) <= set(modalities) or set(content.limits) != set(query):
        raise ValueError(f"{CONTENT}: query {query} does not fit modalities {sorted(modalities)}; export it again")
    if any(set(rules) != findings for rules in content.rules.values()) or set(content.performance) != findings:
        raise ValueError(
            f"{CONTENT}: rules and performance are not of the findings {sorted(findings)}; export it again"
        )
    subsets = {JOINT.join(names) for size in range(1, len(query) + 1) for names in combinations(query, size)}
    if set(content.rules) != subsets or len(subsets) != 2 ** len(query) - 1:
        raise ValueError(
            f"{CONTENT}: got rules for {len(content.rules)} sets of modalities, not all subsets of {query}; export it "
            "again"
        )
    if content.architecture.size not in SIZES or not set(content.architecture.encoders) <= set(modalities):
        raise ValueError(
            f"{CONTENT}: size {content.architecture.size!r} is not one of {list(SIZES)}, or an encoder has an "
            "unknown modality; export it again"
        )
    if wrong := [text for text in content.prompts.templates if text.count("{}") != 1]:
        raise ValueError(f"{CONTENT}: template {wrong[0]!r} does not contain '{{}}' exactly once; export it again")
    _check_numbers(content)


def _check_numbers(content: BundleContent) -> None:
    for key, rules in content.rules.items():
        for finding, rule in rules.items():
            if problem := _contradiction(rule):
                raise ValueError(f"{CONTENT}: rules.{key}.{finding}: {problem}; export it again")
    for finding, measured in content.performance.items():
        if not _is_measured(measured):
            raise ValueError(f"{CONTENT}: performance.{finding} is not an AUROC of counted studies; export it again")


def _contradiction(rule: DecisionRule) -> str | None:
    """Return the contradiction within a rule; None without one."""
    if (rule.slope is None) != (rule.intercept is None):
        return "it has one of slope and intercept, expected both or neither"
    if rule.auroc is not None and rule.auroc[1] > rule.auroc[2]:
        return "the interval of its AUROC ends before it begins"
    return None


def _is_measured(measured: Mapping[str, Any]) -> bool:
    auroc, n, positive = measured["auroc"], measured["n"], measured["n_positive"]
    ordered = auroc is None or (isinstance(auroc, dict) and auroc["low"] <= auroc["high"])
    return ordered and isinstance(n, int) and isinstance(positive, int) and positive <= n
