"""The format of ``bundle.json``: its models with value ranges, decision rules, and the published JSON schema."""

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
from polyclinic.nn import SIZES
from polyclinic.prompts import PromptFile, sentence_columns
from polyclinic.system.terminal import printable

_HIDDEN = r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc"
"""Control characters above ASCII, and those that are invisible or change the direction of text."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=500, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
"""One line that a terminal and a page show as it is."""

Sentence: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Text: TypeAlias = Annotated[str, Field(max_length=20_000, pattern=rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$")]
"""Of several lines."""

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
"""Every key and no other, each of its own type, numbers finite."""


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """How a finding's score is read when exactly these modalities speak; everything was learned on validation.

    Attributes:
        positives: validation studies that have these modalities and the finding.
        negatives: those without the finding.
        auroc: value and 95 % interval there; None where a class is absent.
        slope: of log-odds on the score, by Platt; None without a fit.
        intercept: likewise.
        threshold: on the probability, at and above which the finding counts as present; None without one.
        absent_up_to: scores up to here leave "absent" possible (split conformal); None where every score does.
        present_from: scores from here leave "present" possible; None where every score does.
        problem: why the evidence is too thin for a decision; None where it is not.
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
        """Calibrated; None without a fit."""
        if self.slope is None or self.intercept is None:
            return None
        return float(expit(self.slope * score + self.intercept))

    def possible(self, score: float) -> tuple[str, ...]:
        """The prediction set."""
        absent = self.absent_up_to is None or score <= self.absent_up_to
        present = self.present_from is None or score >= self.present_from
        return tuple(name for name, there in (("absent", absent), ("present", present)) if there)


def probability_intervals(
    scores: Float[np.ndarray, " F"], draws: Float[np.ndarray, "F R 2"]
) -> list[tuple[float, float] | None]:
    """Central 95 % of each finding's probability over the calibrations of resampled validation patients.

    Args:
        scores: of the findings.
        draws: slope and intercept of each resample, NaN where there was no fit.

    Returns:
        None for a finding of which more than half of the resamples could not be fitted.
    """
    drawn = np.sort(expit(draws[..., 0] * scores[:, None] + draws[..., 1]), axis=1)
    known = (~np.isnan(drawn)).sum(axis=1)
    places = (known - 1).clip(min=0)[:, None] * np.array([0.025, 0.975])
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, (known - 1).clip(min=0)[:, None])
    left, right = np.take_along_axis(drawn, below, axis=1), np.take_along_axis(drawn, above, axis=1)
    ends = left + (right - left) * (places - below)
    enough = known >= max(1, drawn.shape[1] // 2)
    return [(float(low), float(high)) if there else None for (low, high), there in zip(ends, enough, strict=True)]


FORMAT = 1
SCHEMA = "bundle.schema.json"
"""Beside this module: the JSON Schema of ``bundle.json``."""

JOINT = "+"
_SHOWN = 200
_UNPRINTABLE = "holds characters that are not printed as they are, or is not of the expected form"
NOT_A_DEVICE = (
    "This is research software and not a medical device. It must not be used to diagnose, treat or triage a patient."
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a bundle comes from.

    Attributes:
        checkpoint_sha256: of the ``.ckpt`` file.
        run_id: of the run that trained it; None where it was not tracked.
        trained_on: fingerprint of the cohort that it was trained on.
        evaluated_on: fingerprint of the cohort whose splits gave calibration and performance.
        cohort: name of that cohort.
        commit: of the code that exported it, with "+" where it was changed; None outside git.
        version: of polyclinic.
        date: in UTC.
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
    """What builds the model.

    Attributes:
        modalities: by name, ``plugin``, ``settings`` and ``state``.
        encoders: by name, class and settings of those that are not the plugin's default.
        size: of the default encoders.
        embedding: shared width; None where encoders end in it.
        hidden: width inside the projections; 0 for linear ones.
        objective: class and settings.
        weights: how matrices are stored, one of ``files.WEIGHT_DTYPES``.
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
    """The prompts that were embedded.

    Attributes:
        modality: whose encoder read them.
        score_rule: see ``finding_score``.
        sha256: of the prompt file.
        templates: as in it.
        findings: as in it: by name, ``positive`` and ``negative`` phrasings.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    modality: Name
    score_rule: ScoreRule
    sha256: Digest
    templates: Annotated[list[Sentence], Field(min_length=1)]
    findings: Annotated[dict[Name, Phrasings], Field(min_length=1)]

    @classmethod
    def of(cls, file: PromptFile) -> "Prompts":
        """Those of a prompt file."""
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
        """Per finding, where the embeddings of its positive and its negative sentences stand."""
        counts = {name: (len(message["positive"]), len(message["negative"])) for name, message in self.findings.items()}
        return sentence_columns(counts, len(self.templates))


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """All of it.

    Attributes:
        format: of the bundle, 1.
        name: of the bundle.
        intended_use: in words.
        not_a_device: in words.
        query: modalities that may speak, in order.
        alpha: share of each class that a prediction set may miss.
        rules: by the modalities that speak, joined by "+" in the order of ``query``, and by finding.
        limits: by modality, the distance beyond which a study is unlike those of the training split.
        performance: by finding, on the test split: ``auroc`` (value, low, high), ``n`` and ``n_positive``.
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
        """The file. Paths, patients and NaN have no place in it."""
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()


def schema_text() -> str:
    """The JSON Schema of ``bundle.json``, as it is published."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(BundleContent).json_schema()}
    return json.dumps(schema, indent=1) + "\n"


def read_content(raw: bytes) -> BundleContent:
    """Read ``bundle.json``.

    Raises:
        ValueError: not JSON, another format, or keys or values that do not belong or are out of range.
    """
    try:
        content = TypeAdapter(BundleContent).validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = printable(".".join(map(str, first["loc"])))[:_SHOWN]
        message = _UNPRINTABLE if first["type"] == "string_pattern_mismatch" else printable(first["msg"])
        raise ValueError(f"{CONTENT}: {where}: {message}; use the version of polyclinic that wrote it") from None
    if content.format != FORMAT:
        raise ValueError(
            f"{CONTENT} has format {content.format}, expected {FORMAT}; use the version of polyclinic that wrote it"
        )
    _check(content)
    return content


def subset_key(names: Sequence[str], query: Sequence[str]) -> str:
    """The key of a set of modalities in ``BundleContent.rules``."""
    return JOINT.join(name for name in query if name in names)


def _check(content: BundleContent) -> None:
    """What the parts say of each other."""
    known, findings = content.architecture.modalities, set(content.prompts.findings)
    query = content.query
    if len(set(query)) < len(query) or not set(query) <= set(known) or set(content.limits) != set(query):
        raise ValueError(f"{CONTENT}: query {query} does not fit modalities {sorted(known)}; export it again")
    if any(set(of) != findings for of in content.rules.values()) or set(content.performance) != findings:
        raise ValueError(
            f"{CONTENT}: rules and performance are not of the findings {sorted(findings)}; export it again"
        )
    every = {JOINT.join(names) for size in range(1, len(query) + 1) for names in combinations(query, size)}
    if set(content.rules) != every or len(every) != 2 ** len(query) - 1:
        raise ValueError(
            f"{CONTENT}: got rules for {len(content.rules)} sets of modalities, not all of those of {query}; export it "
            "again"
        )
    if content.architecture.size not in SIZES or not set(content.architecture.encoders) <= set(known):
        raise ValueError(
            f"{CONTENT}: size {content.architecture.size!r} is not one of {list(SIZES)}, or an encoder is of no "
            "modality; export it again"
        )
    if wrong := [text for text in content.prompts.templates if text.count("{}") != 1]:
        raise ValueError(f"{CONTENT}: template {wrong[0]!r} does not hold '{{}}' once; export it again")
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
    """What a rule says against itself; None where it does not."""
    if (rule.slope is None) != (rule.intercept is None):
        return "it has one of slope and intercept, expected both or neither"
    if rule.auroc is not None and rule.auroc[1] > rule.auroc[2]:
        return "the interval of its AUROC ends before it begins"
    return None


def _is_measured(measured: Mapping[str, Any]) -> bool:
    auroc, n, positive = measured["auroc"], measured["n"], measured["n_positive"]
    ordered = auroc is None or (isinstance(auroc, dict) and auroc["low"] <= auroc["high"])
    return ordered and isinstance(n, int) and isinstance(positive, int) and positive <= n
