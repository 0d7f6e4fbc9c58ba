"""Scores of findings from any subset of the modalities, from prompts or from a trained head alike."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.evaluation.embedding import embed_texts, split_batches
from polyclinic.evaluation.metrics.agreement import binary_columns
from polyclinic.evaluation.zeroshot import finding_scores, prompt_spread
from polyclinic.nn.relevance import Score
from polyclinic.prompts import PromptFile, finding_score
from polyclinic.tasks import ContrastivePretraining, Downstream
from polyclinic.training.restore import Restored


@dataclass(frozen=True, kw_only=True)
class Scorable:
    """``N`` studies of a split, encoded once.

    Attributes:
        features: per modality, with any numbers where a study lacks it.
        present: per modality, which studies have it.
        outcomes: per finding of the scorer: 1, 0, NaN where unknown.
        labels: of the cohort, one column per target.
        groups: per group column, what each study is.
        batches: what was encoded, of all studies of the split.
    """

    features: Mapping[str, Float[Tensor, "N _"]]
    present: Mapping[str, Bool[Tensor, " N"]]
    outcomes: Float[np.ndarray, "N F"]
    labels: Float[Tensor, "N C"]
    study_ids: Sequence[str]
    patient_ids: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    batches: Sequence[Batch]

    def select(self, rows: Bool[Tensor, " N"]) -> "Scorable":
        """The studies where ``rows`` is True."""
        chosen = rows.nonzero()[:, 0].tolist()
        return replace(
            self,
            features={name: value[rows] for name, value in self.features.items()},
            present={name: value[rows] for name, value in self.present.items()},
            outcomes=self.outcomes[rows.numpy()],
            labels=self.labels[rows],
            study_ids=[self.study_ids[row] for row in chosen],
            patient_ids=[self.patient_ids[row] for row in chosen],
            groups={column: [values[row] for row in chosen] for column, values in self.groups.items()},
        )


class Scorer(ABC):
    """A restored checkpoint as something that scores findings.

    Attributes:
        findings: what is scored, in order.
        modalities: that may speak.
    """

    findings: tuple[str, ...]
    modalities: tuple[str, ...]

    @abstractmethod
    def read(self, split: str) -> Scorable:
        """Encode a split.

        Raises:
            ValueError: it has no study, or too many sources are broken.
        """

    @abstractmethod
    def scores(self, studies: Scorable, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Log-odds from some of the modalities; a study without any of them gets what the model says of nothing."""

    @abstractmethod
    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """How the finding's score follows from the pooled vectors of one modality, all others held fixed.

        Args:
            batch: of studies that all have the modality.
            modality: whose vectors the function takes.
            finding: one of ``findings``.
        """


class ZeroShotScorer(Scorer):
    """Scores from prompts.

    Args:
        restored: of a contrastive run.
        prompts: whose modality does not speak itself.
        query: modalities that may speak; all but the prompts' own unless given.

    Raises:
        ValueError: prompts for a finding that is no label of the cohort, or for a modality that is not there; or
            another modality in the query.
    """

    def __init__(self, restored: Restored, prompts: PromptFile, query: Sequence[str] | None = None) -> None:
        self.task = restored.task_of(ContrastivePretraining)
        known = restored.data.labels
        if unknown := [name for name in prompts.findings if name not in known]:
            raise ValueError(
                f"prompts for {unknown[0]!r}, which is no label of the cohort; its labels are {list(known)}"
            )
        self.restored, self.prompts = restored, prompts
        self.findings = tuple(prompts.findings)
        self.texts = embed_texts(restored, prompts.modality, prompts.texts())
        self.modalities = chosen_query([name for name in restored.data.modalities if name != prompts.modality], query)

    def read(self, split: str) -> Scorable:
        """Embed a split."""
        batches = split_batches(self.restored, split)
        with torch.inference_mode():
            features = _joined([self.task(batch) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        columns = [self.restored.data.labels.index(name) for name in self.findings]
        return _scorable(self.restored, split, batches, features, labels, labels[:, columns].double().numpy())

    def scores(self, studies: Scorable, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Scores by the objective and the score rule of the prompt file."""
        if not any(name in modalities for name in self.modalities):
            return np.zeros((len(studies.study_ids), len(self.findings)))
        scores, rule = self._text_scores(studies, modalities), self.prompts.score_rule
        columns = self.prompts.columns().values()
        return np.stack([finding_scores(scores[:, yes], scores[:, no], rule) for yes, no in columns], axis=1)

    def spreads(self, studies: Scorable) -> dict[str, float]:
        """By finding, how far its AUROC moves with the wording; see ``prompt_spread``."""
        scores = self._text_scores(studies, self.modalities)
        return {
            name: prompt_spread(scores[:, yes], scores[:, no], studies.outcomes[:, place])
            for place, (name, (yes, no)) in enumerate(self.prompts.columns().items())
        }

    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """The finding's score, differentiably."""
        with torch.no_grad():
            fixed = {name: value for name, value in self.task(batch).items() if name in self.modalities}
        yes, no = self.prompts.columns()[finding]

        def score(pooled: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
            query = {**fixed, modality: self.task.heads[modality](pooled)}
            scores = self.task.objective.score(query, self.texts.clone(), batch.present)
            return finding_score(scores[:, yes], scores[:, no], self.prompts.score_rule)

        return score

    def _text_scores(self, studies: Scorable, modalities: Collection[str]) -> Float[Tensor, "N T"]:
        query = {name: studies.features[name] for name in self.modalities if name in modalities}
        with torch.inference_mode():
            return self.task.objective.score(query, self.texts, studies.present)


class TrainedScorer(Scorer):
    """Scores of a head: of findings, and of each class against the others.

    Args:
        restored: of a downstream run.
        query: modalities that may speak; all of them unless given.

    Raises:
        ValueError: it learned neither findings nor classes; or another modality in the query.
    """

    def __init__(self, restored: Restored, query: Sequence[str] | None = None) -> None:
        self.task, self.restored = restored.task_of(Downstream), restored
        self.targets = restored.data.targets
        nothing = np.zeros((0, len(self.targets)))
        names = binary_columns(np.zeros((0, self.task.targets.outputs)), nothing, self.targets).names
        if not names:
            raise ValueError(
                f"got a checkpoint of {[target.name for target in self.targets]}, expected findings or classes; use "
                "`polyclinic evaluate classifier`"
            )
        self.findings = tuple(names)
        self.modalities = chosen_query(list(restored.data.modalities), query)

    def read(self, split: str) -> Scorable:
        """Encode a split."""
        batches = split_batches(self.restored, split)
        with torch.inference_mode():
            features = _joined([self.task.features(batch) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        nothing = np.zeros((len(labels), self.task.targets.outputs))
        outcomes = binary_columns(nothing, labels, self.targets).labels
        return _scorable(self.restored, split, batches, features, labels, outcomes)

    def readings(self, studies: Scorable, modalities: Collection[str]) -> Float[Tensor, "N K"]:
        """All readings of the head, of levels and quantities too."""
        shown = [name for name in self.modalities if name in modalities]
        with torch.inference_mode():
            return self.task.fuse(studies.features, only(studies.present, shown))

    def scores(self, studies: Scorable, modalities: Collection[str]) -> Float[np.ndarray, "N F"]:
        """Log-odds by the head."""
        return binary_columns(self.readings(studies, modalities), studies.labels, self.targets).scores

    def score_of(self, batch: Batch, modality: str, finding: str) -> Score:
        """The finding's log-odds, differentiably."""
        with torch.no_grad():
            fixed = self.task.features(batch)
        place, present = self.task.targets.columns.index(finding), only(batch.present, self.modalities)

        def score(pooled: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
            return self.task.fuse({**fixed, modality: self.task.heads[modality](pooled)}, present)[:, place]

        return score


def chosen_query(known: Sequence[str], query: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities that speak: those asked for, or all that are known.

    Raises:
        ValueError: none, or one that is not known.
    """
    if query is not None and (not query or not set(query) <= set(known)):
        raise ValueError(f"got query {list(query)}, expected some of {list(known)}; set `--query`")
    return tuple(known if query is None else query)


def only(present: Mapping[str, Bool[Tensor, " N"]], names: Collection[str]) -> dict[str, Bool[Tensor, " N"]]:
    """Which studies have each modality, when all but some are hidden."""
    return {name: rows if name in names else torch.zeros_like(rows) for name, rows in present.items()}


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _scorable(
    restored: Restored,
    split: str,
    batches: Sequence[Batch],
    features: Mapping[str, Tensor],
    labels: Tensor,
    outcomes: Float[np.ndarray, "N F"],
) -> Scorable:
    of_study = {study.study_id: study.groups for study in restored.data.cohort.split(split)}
    study_ids = [study for batch in batches for study in batch.study_ids]
    columns = next(iter(of_study.values())).keys()
    return Scorable(
        features=features,
        present=_joined([batch.present for batch in batches]),
        outcomes=outcomes,
        labels=labels,
        study_ids=study_ids,
        patient_ids=[patient for batch in batches for patient in batch.patient_ids],
        groups={column: [of_study[study][column] for study in study_ids] for column in columns},
        batches=batches,
    )
