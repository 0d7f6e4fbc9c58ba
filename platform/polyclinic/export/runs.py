"""What a bundle takes from a run: its prompts and their embeddings, or the labels of its trained head."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.deploy.bundle import Head, Label
from polyclinic.deploy.bundle.format import Architecture, Prompts
from polyclinic.deploy.bundle.load import TEXTS
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.agreement import binary_columns, estimate_columns
from polyclinic.evaluation.scorers import Scorer, TrainedScorer, ZeroShotScorer, chosen_query, only
from polyclinic.export.architecture import describe_architecture
from polyclinic.export.estimates import learn_estimate_rules, measure_errors, training_medians
from polyclinic.models.zero_shot import weights_of
from polyclinic.prompts import PromptFile, load_prompts
from polyclinic.tasks import ContrastivePretraining, Downstream
from polyclinic.training.restore import Restored

OfRun = TypeVar("OfRun", bound=Scorer)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of intervals and prediction sets.

    Attributes:
        alpha: share of each class that a prediction set may miss, and of the values that an interval may miss.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """

    alpha: float
    resamples: int
    seed: int


class Examples(NamedTuple):
    """Inputs of ``N`` studies as a bundle reads them, and the outputs for them."""

    inputs: Mapping[str, dict[str, Tensor]]
    present: Mapping[str, Bool[Tensor, " N"]]
    outputs: Float[np.ndarray, "N K"]


class ExportedRun(ABC, Generic[OfRun]):
    """A restored run, as a bundle needs it.

    Args:
        restored: restored checkpoint.
        query: input modalities; all possible ones by default.
    """

    def __init__(self, restored: Restored, query: Sequence[str] | None) -> None:
        self.restored, self.query = restored, query

    @abstractmethod
    def scorer(self) -> OfRun:
        """Return a scorer with the current weights of the task."""

    @property
    @abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """Modalities whose encoders are part of the bundle."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the task that the bundle needs."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights of the task, named as ``weights`` names them."""
        self.restored.task.load_state_dict({**self.restored.task.state_dict(), **weights})

    def architecture(self, weights: str) -> Architecture:
        """Describe the model, whose matrices are stored as ``weights``."""
        return describe_architecture(self.restored, self.modalities, weights)

    def examples(self, scorer: OfRun, validation: EmbeddedSplit) -> Examples:
        """Return some studies with the outputs that a bundle of the run must give."""
        batch = validation.batches[0]
        outputs = scorer.scores(validation, scorer.modalities)
        return Examples(batch.inputs, batch.present, outputs[: len(batch)])

    @abstractmethod
    def prompts(self) -> Prompts | None:
        """Return the prompts; None for a head."""

    @abstractmethod
    def head(self, scorer: OfRun, validation: EmbeddedSplit, test: EmbeddedSplit, sampling: Sampling) -> Head | None:
        """Return the labels, with what validation and test show of levels and quantities; None for prompts."""

    @abstractmethod
    def tensors(self, scorer: OfRun) -> Mapping[str, Tensor]:
        """Return the tensors of the bundle that are not weights, calibration or OOD references."""


def head_columns(
    outputs: Float[Tensor, "N K"], labels: Float[Tensor, "N C"], scorer: TrainedScorer
) -> Float[np.ndarray, "N _"]:
    """Return the outputs of a bundle of a head: log-odds of findings and classes, then levels and quantities."""
    columns = (binary_columns, estimate_columns)
    return np.concatenate([each(outputs, labels, scorer.targets)[0] for each in columns], axis=1)


def without_held_out(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the linear model of the training studies, which is for validation studies alone."""
    return {key: value for key, value in state.items() if not key.startswith("held_out_path.")}


class ZeroShotRun(ExportedRun[ZeroShotScorer]):
    """A contrastive run with prompts.

    Args:
        restored: restored checkpoint.
        query: input modalities; all but the prompt modality by default.
        file: prompt file.
        text_encoder: whether to include the encoder of the prompt modality.
    """

    def __init__(
        self, restored: Restored, query: Sequence[str] | None, *, file: PromptFile, text_encoder: bool
    ) -> None:
        super().__init__(restored, query)
        self.file, self._text_encoder = file, text_encoder
        task = restored.task_of(ContrastivePretraining)
        for name, adapter in task.adapters.items():
            adapter.merge(task.encoders[name])  # a bundle has plain encoders

    def scorer(self) -> ZeroShotScorer:
        """Return a scorer that has embedded the prompts."""
        return ZeroShotScorer(self.restored, self.file, self.query)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Input modalities, and the prompt modality if its encoder is included."""
        others = [name for name in self.restored.data.modalities if name != self.file.modality]
        return (*chosen_query(others, self.query), *([self.file.modality] if self._text_encoder else []))

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the encoders, their projections and the objective."""
        return weights_of(self.restored.task.state_dict(), self.modalities)

    def prompts(self) -> Prompts:
        """Return the prompts of the file."""
        return Prompts.of(self.file)

    def head(self, scorer: ZeroShotScorer, validation: EmbeddedSplit, test: EmbeddedSplit, sampling: Sampling) -> None:
        """Return None."""

    def tensors(self, scorer: ZeroShotScorer) -> Mapping[str, Tensor]:
        """Return the embeddings of the prompts."""
        return {TEXTS: scorer.texts.clone()}


class HeadRun(ExportedRun[TrainedScorer]):
    """A run of ``Downstream``, with every modality of its fusion."""

    def scorer(self) -> TrainedScorer:
        """Return a scorer of the findings, classes, levels and quantities."""
        return TrainedScorer(self.restored, self.query)

    @property
    def modalities(self) -> tuple[str, ...]:
        """All modalities of the run, because its fusion has weights for each."""
        return tuple(self.restored.data.modalities)

    def weights(self) -> dict[str, Tensor]:
        """Return all weights of the task but those for its validation studies."""
        return without_held_out(self.restored.task.state_dict())

    def examples(self, scorer: TrainedScorer, validation: EmbeddedSplit) -> Examples:
        """Return some validation studies with the outputs for any new study."""
        batch, task = validation.batches[0], scorer.task
        with torch.inference_mode():
            outputs = task.fuse(task.features(batch), only(batch.present, scorer.modalities))
        return Examples(batch.inputs, batch.present, head_columns(outputs, batch.labels, scorer))

    def prompts(self) -> None:
        """Return None."""

    def head(self, scorer: TrainedScorer, validation: EmbeddedSplit, test: EmbeddedSplit, sampling: Sampling) -> Head:
        """Return the labels of the head, with center and scale of the training studies of the checkpoint."""
        medians = training_medians(scorer)
        return Head(
            labels=_labels(scorer),
            estimates=learn_estimate_rules(
                scorer, validation, medians, alpha=sampling.alpha, resamples=sampling.resamples, seed=sampling.seed
            ),
            errors=measure_errors(scorer, test, medians, resamples=sampling.resamples, seed=sampling.seed),
        )

    def tensors(self, scorer: TrainedScorer) -> Mapping[str, Tensor]:
        """Return no tensors."""
        return {}


def exported_run(
    restored: Restored, prompts: Path | None, query: Sequence[str] | None, *, text_encoder: bool
) -> ExportedRun[Any]:
    """Return the run of a checkpoint.

    Args:
        restored: restored checkpoint of a contrastive run or of a trained head.
        prompts: prompt file, which a contrastive run needs and a head does not have.
        query: input modalities.
        text_encoder: whether to include the encoder of the prompt modality.

    Raises:
        ValueError: the prompts are missing or superfluous, or the checkpoint is of another task.
    """
    if isinstance(restored.task, Downstream):
        if prompts is not None:
            raise ValueError(
                f"got prompts for a trained head, whose labels are {list(restored.data.labels)}; leave out `--prompts`"
            )
        return HeadRun(restored, query)
    restored.task_of(ContrastivePretraining)
    if prompts is None:
        raise ValueError("got a contrastive checkpoint without prompts; set `--prompts` to a prompt file")
    return ZeroShotRun(restored, query, file=load_prompts(prompts), text_encoder=text_encoder)


def _labels(scorer: TrainedScorer) -> list[Label]:
    learned = scorer.task.targets
    return [
        Label(
            name=target.name,
            kind=target.kind,
            names=list(target.names),
            unit=target.unit,
            center=float(center),
            scale=float(scale),
        )
        for target, center, scale in zip(scorer.targets, learned.center, learned.scale, strict=True)
    ]
