"""Models of the JSON answers of the service, from which its OpenAPI document is made."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from polyclinic.deploy.scores import StudyScores


class Message(BaseModel):
    """A message to the user, as one sentence."""

    message: str


class Error(BaseModel):
    """An error; its message contains no file name."""

    error: Message


@dataclass(frozen=True, kw_only=True)
class Scores(StudyScores):
    """Scores of one study.

    Attributes:
        files: modality of each part named ``files``, in the order of the parts; None if it could not be read.
        views: view of each file by modality, where the request asks for them.
        relevance: relevance in the frame of each view, where the request names a finding to explain.
    """

    files: list[str | None]
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


class EstimateCard(BaseModel):
    """A level or quantity of the bundle, with its mean absolute error on the test split, and that of a constant guess.

    ``levels`` are the names of the levels, in rising order; a quantity has none.
    """

    name: str
    unit: str
    levels: list[str]
    error: Interval | None
    guess: float | None
    n: int


class BundleCard(BaseModel):
    """Description of the served bundle.

    ``baseline`` states whether the model is better than simple models, ``evidence`` what maps of relevance leave out.
    """

    name: str
    version: str
    created: str
    sha256: str
    intended_use: str
    not_a_device: str
    modalities: list[ModalityCard]
    findings: list[FindingCard]
    estimates: list[EstimateCard]
    baseline: str | None = None
    evidence: str | None = None


class State(BaseModel):
    """State of the service: ``alive`` or ``ready``."""

    status: str
