"""What the service answers, as its OpenAPI document tells it."""

from typing import Any, Literal

from pydantic import BaseModel


class Message(BaseModel):
    """A sentence."""

    message: str


class Error(BaseModel):
    """What is wrong, without any file name."""

    error: Message


class Use(BaseModel):
    """What one modality of a study did."""

    used: bool
    gate: float | None
    distance: float | None
    limit: float
    out_of_distribution: bool
    problem: str | None


class Finding(BaseModel):
    """What a study's modalities say of one finding."""

    name: str
    score: float
    probability: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    decision: Literal["present", "absent"] | None
    abstained: bool
    reason: str | None
    possible: list[Literal["present", "absent"]]
    contributions: dict[str, float]
    auroc: tuple[float, float, float] | None


class Scores(BaseModel):
    """The scores of one study; ``files`` says of which modality each part named so is, in the order of the parts."""

    bundle: str
    files: list[str | None]
    modalities: dict[str, Use]
    findings: list[Finding]
    notes: list[str]
    views: dict[str, dict[str, Any]] | None = None
    relevance: dict[str, dict[str, Any]] | None = None


class ModalityCard(BaseModel):
    """A modality of the bundle; ``accept`` is how names of its files end."""

    name: str
    title: str | None
    accept: list[str]
    query: bool


class Interval(BaseModel):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class FindingCard(BaseModel):
    """A finding of the bundle, and how well it was told on the test split."""

    name: str
    auroc: Interval | None = None
    n: int | None = None
    n_positive: int | None = None


class BundleCard(BaseModel):
    """The bundle that is served."""

    name: str
    version: str
    created: str
    sha256: str
    intended_use: str
    not_a_device: str
    modalities: list[ModalityCard]
    findings: list[FindingCard]


class State(BaseModel):
    """Whether the service lives, or is ready."""

    status: str
