"""What ``bundle.json`` says, checked key by key."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from polyclinic.deploy.bundle.folder import CONTENT
from polyclinic.deploy.bundle.rules import STRICT, Rule
from polyclinic.prompts import PromptFile, sentence_columns

FORMAT = 1
JOINT = "+"
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

    checkpoint_sha256: str
    run_id: str | None
    trained_on: str
    evaluated_on: str
    cohort: str
    commit: str | None
    version: str
    date: str


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
        weights: how matrices are stored, one of ``packing.WEIGHTS``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    modalities: dict[str, dict[str, Any]]
    encoders: dict[str, dict[str, Any]]
    size: str
    embedding: int | None
    hidden: int
    objective: dict[str, Any]
    weights: str


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

    modality: str
    score_rule: str
    sha256: str
    templates: list[str]
    findings: dict[str, dict[str, list[str]]]

    @classmethod
    def of(cls, file: PromptFile) -> "Prompts":
        """Those of a prompt file."""
        return cls(
            modality=file.modality,
            score_rule=file.score_rule,
            sha256=file.sha256,
            templates=list(file.templates),
            findings={
                name: {"positive": list(said.positive), "negative": list(said.negative)}
                for name, said in file.findings.items()
            },
        )

    def columns(self) -> dict[str, tuple[slice, slice]]:
        """Per finding, where the embeddings of its positive and its negative sentences stand."""
        counts = {name: (len(said["positive"]), len(said["negative"])) for name, said in self.findings.items()}
        return sentence_columns(counts, len(self.templates))


@dataclass(frozen=True, kw_only=True)
class Content:
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
    name: str
    intended_use: str
    not_a_device: str
    origin: Origin
    architecture: Architecture
    prompts: Prompts
    query: list[str]
    alpha: float
    rules: dict[str, dict[str, Rule]]
    limits: dict[str, float]
    performance: dict[str, dict[str, Any]]

    def as_bytes(self) -> bytes:
        """The file. Paths, patients and NaN have no place in it."""
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()


def read_content(raw: bytes) -> Content:
    """Read ``bundle.json``.

    Raises:
        ValueError: not JSON, another format, or keys or values that do not belong.
    """
    try:
        content = TypeAdapter(Content).validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{CONTENT}: {where}: {first['msg']}; use the version of polyclinic that wrote it") from None
    if content.format != FORMAT:
        raise ValueError(
            f"{CONTENT} has format {content.format}, expected {FORMAT}; use the version of polyclinic that wrote it"
        )
    _check(content)
    return content


def spoken_key(names: Sequence[str], query: Sequence[str]) -> str:
    """The key of a set of modalities in ``Content.rules``."""
    return JOINT.join(name for name in query if name in names)


def _check(content: Content) -> None:
    """What the parts say of each other."""
    known, findings = content.architecture.modalities, set(content.prompts.findings)
    if not content.query or not set(content.query) <= set(known) or set(content.limits) != set(content.query):
        raise ValueError(f"{CONTENT}: query {content.query} does not fit modalities {sorted(known)}; export it again")
    if any(set(of) != findings for of in content.rules.values()) or set(content.performance) != findings:
        raise ValueError(
            f"{CONTENT}: rules and performance are not of the findings {sorted(findings)}; export it again"
        )
    if len(content.rules) != 2 ** len(content.query) - 1:
        raise ValueError(f"{CONTENT}: got rules for {len(content.rules)} sets of modalities, not all; export it again")
