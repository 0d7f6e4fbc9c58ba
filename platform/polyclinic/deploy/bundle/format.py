"""The format of ``bundle.json``: dataclasses with value ranges, checks between them, and the published JSON Schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from polyclinic.deploy.bundle.fields import (
    STRICT,
    Count,
    Digest,
    Distance,
    Name,
    ScoreRule,
    Sentence,
    Share,
    Text,
    Weights,
    Width,
)
from polyclinic.deploy.bundle.files import CONTENT
from polyclinic.deploy.bundle.head import Head
from polyclinic.deploy.bundle.rules import DecisionRule
from polyclinic.models.class_table import shown
from polyclinic.nn import SIZES
from polyclinic.prompts import PromptFile, sentence_columns
from polyclinic.system.terminal import printable

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


FORMAT = 1
SCHEMA = "bundle.schema.json"
"""File beside this module: the JSON Schema of ``bundle.json``."""

JOINT = "+"
_OF_CLASSIFIER = ("prompts", "head", "baseline")
_OF_MODEL = ("objective", "fusion", "adapter", "linear", "members")
"""Keys that only prompts or only a head has."""

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
class Member:
    """A further member of an ensemble, which differs from the first in its weights and what its plugins learned.

    Attributes:
        checkpoint_sha256: SHA-256 of its ``.ckpt`` file.
        states: learned state of each plugin, by modality.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    checkpoint_sha256: Digest
    states: dict[Name, Any]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Description of the model, from which it is built.

    Attributes:
        modalities: ``plugin``, ``settings`` and ``state`` by modality.
        encoders: class and settings of each encoder that is not the default of its plugin.
        size: size of the default encoders.
        embedding: width of the shared embedding space; None if encoders end in it, and for a trained head.
        hidden: hidden width of the projection heads; 0 for linear heads, and for a trained head.
        objective: class and settings of the objective; None for a trained head.
        weights: type of the stored matrices, one of ``files.WEIGHT_DTYPES``.
        fusion: class and settings of the fusion of a trained head; None for prompts.
        adapter: class and settings of what a trained head added to its encoders, such as ``Lora``; None if nothing.
        linear: whether a linear model on fixed features joins a trained head.
        members: members of an ensemble of trained heads after the first, one per further fold.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    modalities: dict[Name, Plugin]
    encoders: dict[Name, Class]
    size: Name
    embedding: Width | None = None
    hidden: Annotated[int, Field(ge=0, le=1 << 16)] = 0
    objective: Class | None = None
    weights: Weights
    fusion: Class | None = None
    adapter: Class | None = None
    linear: bool = False
    members: Annotated[list[Member], Field(max_length=63)] = field(default_factory=list)

    def contradiction(self, *, is_head: bool) -> str | None:
        """Return what does not belong to a trained head, or to prompts; None if everything does."""
        if not is_head:
            fits = self.objective is not None and not (self.fusion or self.adapter or self.linear or self.members)
            return None if fits else "prompts need an objective, and no fusion, adapter, linear model or members"
        if any(set(member.states) != set(self.modalities) for member in self.members):
            return f"a member has states of other modalities than {shown(sorted(self.modalities))}"
        fits = self.fusion is not None and self.objective is None and self.embedding is None and not self.hidden
        return None if fits else "a head needs a fusion, and no objective, embedding or hidden width"


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
    """The content of ``bundle.json``, with either ``prompts`` or a ``head``.

    Attributes:
        format: version of the format, 1.
        name: name of the bundle.
        intended_use: statement of the intended use.
        not_a_device: statement that the bundle is not a medical device.
        origin: provenance of the bundle.
        architecture: description of the model.
        prompts: prompts of the findings, for a zero-shot classifier.
        query: input modalities, in order.
        alpha: share of each class that the prediction sets may miss, and of the values that intervals may miss.
        rules: decision rules by subset key (modalities joined by "+" in the order of ``query``), then by finding.
        limits: distance by modality beyond which a study is out of distribution.
        performance: ``auroc`` (value, low, high), ``n`` and ``n_positive`` on the test split, by finding.
        head: labels of a trained head.
        baseline: sentence on whether a trained head is better than simple models on the test split.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format: int
    name: Name
    intended_use: Text
    not_a_device: Text
    origin: Origin
    architecture: Architecture
    prompts: Prompts | None = None
    query: Annotated[list[Name], Field(min_length=1, max_length=16)]
    alpha: Share
    rules: dict[Name, dict[Name, DecisionRule]]
    limits: dict[Name, Distance]
    performance: dict[Name, Measured]
    head: Head | None = None
    baseline: Sentence | None = None

    @property
    def findings(self) -> list[str]:
        """Names of the findings, in order."""
        if self.head is not None:
            return self.head.findings
        return list(self.prompts.findings) if self.prompts is not None else []

    def as_bytes(self) -> bytes:
        """Return the content of the file. It holds no paths, patients or NaN.

        Keys that zero-shot bundles lack are left out of theirs, which earlier releases read.
        """
        content = asdict(self)
        for part, keys in ((content, _OF_CLASSIFIER), (content["architecture"], _OF_MODEL)):
            for key in keys:
                if not part[key]:
                    del part[key]
        return json.dumps(content, indent=1, allow_nan=False).encode()


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
    if (content.prompts is None) == (content.head is None):
        raise ValueError(f"{CONTENT}: got prompts and head, or neither, expected one of the two; export it again")
    modalities, findings, query = content.architecture.modalities, set(content.findings), content.query
    if len(set(query)) < len(query) or not set(query) <= set(modalities) or set(content.limits) != set(query):
        raise ValueError(f"{CONTENT}: query {query} does not fit modalities {sorted(modalities)}; export it again")
    if any(set(rules) != findings for rules in content.rules.values()) or set(content.performance) != findings:
        raise ValueError(
            f"{CONTENT}: rules and performance are not of the findings {sorted(findings)}; export it again"
        )
    _check_subsets("rules", content.rules, query)
    if content.architecture.size not in SIZES or not set(content.architecture.encoders) <= set(modalities):
        raise ValueError(
            f"{CONTENT}: size {content.architecture.size!r} is not one of {list(SIZES)}, or an encoder has an "
            "unknown modality; export it again"
        )
    if problem := content.architecture.contradiction(is_head=content.head is not None):
        raise ValueError(f"{CONTENT}: architecture: {problem}; export it again")
    _check_classifier(content)
    _check_numbers(content)


def _check_classifier(content: BundleContent) -> None:
    """Check what only prompts or only a head has."""
    templates = content.prompts.templates if content.prompts is not None else []
    if wrong := [text for text in templates if text.count("{}") != 1]:
        raise ValueError(f"{CONTENT}: template {wrong[0]!r} does not contain '{{}}' exactly once; export it again")
    if content.head is not None:
        _check_subsets("head.estimates", content.head.estimates, content.query)
        if problem := content.head.contradiction():
            raise ValueError(f"{CONTENT}: {problem}; export it again")


def _check_subsets(where: str, rules: Mapping[str, object], query: Sequence[str]) -> None:
    subsets = {JOINT.join(names) for size in range(1, len(query) + 1) for names in combinations(query, size)}
    if set(rules) != subsets or len(subsets) != 2 ** len(query) - 1:
        raise ValueError(
            f"{CONTENT}: got {where} for {len(rules)} sets of modalities, not all subsets of {query}; export it again"
        )


def _check_numbers(content: BundleContent) -> None:
    for key, rules in content.rules.items():
        for finding, rule in rules.items():
            if problem := rule.contradiction():
                raise ValueError(f"{CONTENT}: rules.{key}.{finding}: {problem}; export it again")
    for finding, measured in content.performance.items():
        if not _is_measured(measured):
            raise ValueError(f"{CONTENT}: performance.{finding} is not an AUROC of counted studies; export it again")


def _is_measured(measured: Mapping[str, Any]) -> bool:
    auroc, n, positive = measured["auroc"], measured["n"], measured["n_positive"]
    ordered = auroc is None or (isinstance(auroc, dict) and auroc["low"] <= auroc["high"])
    return ordered and isinstance(n, int) and isinstance(positive, int) and positive <= n
