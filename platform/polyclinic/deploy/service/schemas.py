"""Models of the JSON answers of the service, from which its OpenAPI document is made."""

from typing import Any, Literal

from pydantic import BaseModel


class Message(BaseModel):
    """A message to the user, as one sentence."""

    message: str


class Error(BaseModel):
    """An error; its message contains no file name."""

    error: Message


class Use(BaseModel):
    """Use of one input modality in the scores of a study."""

    used: bool
    gate: float | None
    distance: float | None
    limit: float
    out_of_distribution: bool
    problem: str | None


class Finding(BaseModel):
    """Score of one finding, and the decision made from it."""

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
    """Scores of one study; ``files`` lists the modality of each part named ``files``, in the order of the parts."""

    bundle: str
    files: list[str | None]
    modalities: dict[str, Use]
    findings: list[Finding]
    notes: list[str]
    views: dict[str, dict[str, Any]] | None = None
    relevance: dict[str, dict[str, Any]] | None = None


class ModalityCard(BaseModel):
    """A modality of the bundle; ``accept`` lists the endings of its file names."""

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
    """A finding of the bundle, with its performance on the test split."""

    name: str
    auroc: Interval | None = None
    n: int | None = None
    n_positive: int | None = None


class BundleCard(BaseModel):
    """Description of the served bundle."""

    name: str
    version: str
    created: str
    sha256: str
    intended_use: str
    not_a_device: str
    modalities: list[ModalityCard]
    findings: list[FindingCard]


class State(BaseModel):
    """State of the service: ``alive`` or ``ready``."""

    status: str
