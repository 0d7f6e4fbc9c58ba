"""Scores of findings from any subset of the modalities, by prompts or by a trained head."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.evaluation.embedding import EmbeddedSplit, embed_split, embed_texts
from polyclinic.evaluation.metrics.agreement import Estimates, binary_columns, estimate_columns
from polyclinic.evaluation.zeroshot import finding_scores, prompt_spread
from polyclinic.nn.linear_path import with_pooled
from polyclinic.nn.relevance import Score
from polyclinic.prompts import PromptFile, finding_score
from polyclinic.system.names import refuse_unknown
from polyclinic.tasks import ContrastivePretraining, Downstream
from polyclinic.training.restore import Restored


class Scorer(ABC):
    """A restored checkpoint that scores findings.

    Attributes:
        findings: scored findings, in order.
        modalities: input modalities.
    """

    findings: tuple[str, ...]
    modalities: tuple[str, ...]

    @abstractmethod
    def read(self, split: str) -> EmbeddedSplit:
        """Encode a split, with the outcomes of ``findings`` and its batches.

        Raises:
            ValueError: the split is empty, or too many sources are broken.
        """

    @abstractmethod
    def scores(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Return log-odds from the given modalities; a study with none of them gets the model's score for no input."""

    @abstractmethod
    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """Return a finding's score as a function of the pooled vectors of one modality, all others held fixed.

        Args:
            batch: studies that all have the modality.
            modality: modality whose vectors the function takes.
            finding: one of ``findings``.

        Raises:
            ValueError: the score does not depend on these vectors.
        """


class ZeroShotScorer(Scorer):
    """Zero-shot scores from prompts.

    Args:
        restored: restored checkpoint of a contrastive run.
        prompts: prompt file, whose modality is not an input modality.
        query: input modalities; all but the prompt modality by default.

    Raises:
        ValueError: a prompted finding is not a label of the cohort, the checkpoint does not have the prompt modality,
            or the query has an unknown modality.
    """

    def __init__(self, restored: Restored, prompts: PromptFile, query: Sequence[str] | None = None) -> None:
        self.task = restored.task_of(ContrastivePretraining)
        known = restored.data.labels
        refuse_unknown("prompts for finding", prompts.findings, known, "set `findings` in the prompt file to labels")
        self.restored, self.prompts = restored, prompts
        self.findings = tuple(prompts.findings)
        self.texts = embed_texts(restored, prompts.modality, prompts.texts())
        self.modalities = chosen_query([name for name in restored.data.modalities if name != prompts.modality], query)

    def read(self, split: str) -> EmbeddedSplit:
        """Embed a split with the encoders of the contrastive run."""
        studies = embed_split(self.restored, split, keep_batches=True)
        columns = [self.restored.data.labels.index(name) for name in self.findings]
        return replace(studies, outcomes=studies.labels[:, columns].double().numpy())

    def scores(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Score findings by the objective and the score rule of the prompt file."""
        if not any(name in modalities for name in self.modalities):
            return np.zeros((len(studies.study_ids), len(self.findings)))
        scores, rule = self._text_scores(studies, modalities), self.prompts.score_rule
        columns = self.prompts.columns().values()
        return np.stack([finding_scores(scores[:, yes], scores[:, no], rule) for yes, no in columns], axis=1)

    def spreads(self, studies: EmbeddedSplit) -> dict[str, float]:
        """Return the spread of each finding's AUROC over wordings; see ``prompt_spread``."""
        scores = self._text_scores(studies, self.modalities)
        return {
            name: prompt_spread(scores[:, yes], scores[:, no], studies.outcomes[:, place])
            for place, (name, (yes, no)) in enumerate(self.prompts.columns().items())
        }

    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """Return the finding's score as a differentiable function."""
        with torch.no_grad():
            fixed = {name: value for name, value in self.task(batch).items() if name in self.modalities}
        yes, no = self.prompts.columns()[finding]

        def score(pooled: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
            query = {**fixed, modality: self.task.heads[modality](pooled)}
            scores = self.task.objective.score(query, self.texts.clone(), batch.present)
            return finding_score(scores[:, yes], scores[:, no], self.prompts.score_rule)

        return score

    def _text_scores(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[Tensor, "N T"]:
        query = {name: studies.embeddings[name] for name in self.modalities if name in modalities}
        with torch.inference_mode():
            return self.task.objective.score(query, self.texts, studies.present)


class TrainedScorer(Scorer):
    """Scores of a trained head, for findings and for each class against the others.

    Args:
        restored: restored checkpoint of a downstream run.
        query: input modalities; all by default.

    Raises:
        ValueError: the query has an unknown modality.
    """

    def __init__(self, restored: Restored, query: Sequence[str] | None = None) -> None:
        self.task, self.restored = restored.task_of(Downstream), restored
        self.targets = restored.data.targets
        no_labels = np.zeros((0, len(self.targets)))
        self.findings = tuple(binary_columns(np.zeros((0, self.task.targets.outputs)), no_labels, self.targets).names)
        self.modalities = chosen_query(list(restored.data.modalities), query)

    def read(self, split: str) -> EmbeddedSplit:
        """Encode a split with the encoders and projections of the head."""
        encode = partial(self.task.features, held_out=split == "val")
        studies = embed_split(self.restored, split, encode, keep_batches=True)
        no_outputs = np.zeros((len(studies.labels), self.task.targets.outputs))
        return replace(studies, outcomes=binary_columns(no_outputs, studies.labels, self.targets).labels)

    def predictions(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[Tensor, "N K"]:
        """Return all outputs of the head, including levels and quantities."""
        visible = [name for name in self.modalities if name in modalities]
        with torch.inference_mode():
            return self.task.fuse(studies.embeddings, only(studies.present, visible))

    def scores(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Return the log-odds of the head for findings and classes."""
        return binary_columns(self.predictions(studies, modalities), studies.labels, self.targets).scores

    def estimates(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Estimates:
        """Return the levels and quantities from the given modalities, with their labels."""
        return estimate_columns(self.predictions(studies, modalities), studies.labels, self.targets)

    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """Return the finding's log-odds as a differentiable function.

        Raises:
            ValueError: a linear model on fixed features makes the score alone.
        """
        if self.task.linear_path is not None and self.task.linear_path.is_alone:
            raise ValueError("the network has a share of 0, so that a linear model makes the score")
        with torch.no_grad():
            fixed = self.task.features(batch)
        place, present = self.task.targets.columns.index(finding), only(batch.present, self.modalities)

        def score(pooled: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
            moved = with_pooled(self.task.heads[modality], pooled, fixed[modality])
            return self.task.fuse({**fixed, modality: moved}, present)[:, place]

        return score


class FoldedScorer(TrainedScorer):
    """Scores of the trained heads of several folds, each for the studies that its fold left out of training.

    Args:
        folds: restored checkpoints of the folds, with the same labels and modalities.
        query: input modalities; all by default.
    """

    def __init__(self, folds: Sequence[Restored], query: Sequence[str] | None = None) -> None:
        super().__init__(folds[0], query)
        self.folds = [TrainedScorer(restored, query) for restored in folds]

    def read(self, split: str) -> EmbeddedSplit:
        """Encode the split of every fold with its model; the batches are those of the first fold.

        A study that is in the validation split of several folds occurs once for each of them.
        """
        parts = [fold.read(split) for fold in self.folds]
        return EmbeddedSplit(
            split=split,
            embeddings={name: torch.cat([part.embeddings[name] for part in parts]) for name in parts[0].embeddings},
            present={name: torch.cat([part.present[name] for part in parts]) for name in parts[0].present},
            labels=torch.cat([part.labels for part in parts]),
            outcomes=np.concatenate([part.outcomes for part in parts]),
            study_ids=[study_id for part in parts for study_id in part.study_ids],
            patient_ids=[patient_id for part in parts for patient_id in part.patient_ids],
            groups={name: [value for part in parts for value in part.groups[name]] for name in parts[0].groups},
            batches=parts[0].batches,
            folds=torch.cat([torch.full((len(part.study_ids),), fold) for fold, part in enumerate(parts)]),
        )

    def predictions(self, studies: EmbeddedSplit, modalities: Collection[str]) -> Float[Tensor, "N K"]:
        """Return the outputs of the head of each study's fold."""
        assert studies.folds is not None
        outputs = torch.zeros(len(studies.study_ids), self.task.targets.outputs)
        for number, fold in enumerate(self.folds):
            rows = studies.folds == number
            outputs[rows] = fold.predictions(studies.select(rows), modalities)
        return outputs


def chosen_query(known: Sequence[str], query: Sequence[str] | None) -> tuple[str, ...]:
    """Return the input modalities: the query, or all known modalities.

    Raises:
        ValueError: the query is empty or has an unknown modality.
    """
    if query is not None and not query:
        raise ValueError(f"got an empty query, expected some of {list(known)}; set `--query`")
    refuse_unknown("query modality", query or (), known, "set `--query`")
    return tuple(known if query is None else query)


def only(present: Mapping[str, Bool[Tensor, " N"]], names: Collection[str]) -> dict[str, Bool[Tensor, " N"]]:
    """Return the masks of available modalities after hiding all but ``names``."""
    return {name: rows if name in names else torch.zeros_like(rows) for name, rows in present.items()}
