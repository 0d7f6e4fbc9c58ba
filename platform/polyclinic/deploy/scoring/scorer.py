"""Score studies with a bundle: decisions, prediction sets, and exact Shapley values of the modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.deploy.bundle import Bundle, DecisionRule, subset_key
from polyclinic.deploy.bundle.rules import probability_intervals
from polyclinic.deploy.scores import Decision, EstimateScore, FindingScore, ModalityUse, StudyScores
from polyclinic.deploy.scoring.estimates import estimate_score
from polyclinic.deploy.scoring.outputs import output_function
from polyclinic.modality import Item
from polyclinic.models.zero_shot import ZeroShotModel, in_precision
from polyclinic.nn.linear_path import with_pooled
from polyclinic.nn.relevance import token_relevance
from polyclinic.objectives import ReliabilityGate


def coalitions(players: int) -> Bool[Tensor, "S M"]:
    """Return every subset of players: row ``s`` contains player ``m`` if bit ``m`` of ``s`` is set; row 0 is empty."""
    numbers = torch.arange(2**players)
    return (numbers[:, None] >> torch.arange(players)) % 2 == 1


def shapley_weights(players: int) -> Float[Tensor, "M S"]:
    """Return the matrix that maps the values of all coalitions to Shapley values (Shapley 1953, equation 12)."""
    weights = torch.zeros(players, 2**players, dtype=torch.float64)
    for player in range(players):
        others = [other for other in range(players) if other != player]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for members in combinations(others, size):
                # Rows of ``coalitions``: the members as bits, without and with the player.
                without = sum(1 << member for member in members)
                weights[player, without | 1 << player] += weight
                weights[player, without] -= weight
    return weights


Study = Mapping[str, Item]
"""The prepared items of one study, by modality."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Encoder outputs of ``N`` studies, with zeros for missing modalities.

    Attributes:
        embeddings: embeddings, or features of a trained head, by modality.
        present: mask of the studies that have the modality, by modality.
        distances: distance to the training studies, by modality.
    """

    embeddings: dict[str, Float[Tensor, "N _"]]
    present: dict[str, Bool[Tensor, " N"]]
    distances: dict[str, Float[Tensor, " N"]]


class StudyScorer:
    """Score studies with a bundle; the scores of a study do not depend on the others of its batch.

    Args:
        bundle: loaded bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._coalitions = coalitions(len(bundle.query))
        self._shares = shapley_weights(len(bundle.query))
        self._outputs = output_function(bundle)
        self._columns = [*bundle.findings, *(label.name for label in bundle.estimated)]
        self._rule_indices = {key: index for index, key in enumerate(bundle.content.rules)}

    @torch.inference_mode()
    def score(self, studies: Sequence[Study], problems: Sequence[Mapping[str, str]] | None = None) -> list[StudyScores]:
        """Score each study by the modalities it has.

        Args:
            studies: prepared items; modalities that are not input modalities are ignored.
            problems: reason by unreadable modality, per study.

        Raises:
            ValueError: a study has no input modality.
        """
        for study in studies:
            if not any(name in study for name in self.bundle.query):
                raise ValueError(
                    f"got a study with {sorted(study) or 'nothing'}, expected some of {self.bundle.query}; give one of "
                    "their files"
                )
        evidence = self.encode(*self._collated(studies))
        values = self._values(evidence)
        gates = self._gates(evidence)
        problems = problems or [{}] * len(studies)
        return [self._study_scores(row, evidence, values[row], gates, problems[row]) for row in range(len(studies))]

    def relevance(self, study: Study, finding: str) -> dict[str, Float[Tensor, " T"]]:
        """Return how much each token raises a score or estimate, by modality, with the other modalities held fixed.

        The result is empty where a linear model on fixed features makes the scores alone: tokens have no relevance.

        Args:
            study: prepared items.
            finding: name of a finding, level or quantity.

        Raises:
            ValueError: the bundle does not have the finding, or no gradient leads from the score to the tokens.
        """
        if finding not in self._columns:
            raise ValueError(f"got finding {finding!r}, expected one of {self._columns}; set `explain`")
        path = self.bundle.model.linear_path
        if path is not None and path.is_alone:
            return {}
        with torch.no_grad():
            evidence = self.encode(*self._collated([study]))
        return {name: self._relevance(study, finding, name, evidence) for name in self.bundle.query if name in study}

    def _relevance(self, study: Study, finding: str, name: str, evidence: Evidence) -> Float[Tensor, " T"]:
        model, place = self.bundle.model, self._columns.index(finding)

        def score(pooled: Float[Tensor, "1 D"]) -> Float[Tensor, " 1"]:
            moved = with_pooled(model.heads[name], pooled, evidence.embeddings[name])
            return self._outputs({**evidence.embeddings, name: moved}, evidence.present)[:, place]

        return token_relevance(model.encoder(name), self._inputs(name, [study[name]]), score)[0]

    def _inputs(self, name: str, items: Sequence[Item]) -> dict[str, Tensor]:
        return in_precision(self.bundle.collate(name, items), self.bundle.texts.dtype)

    def _collated(self, studies: Sequence[Study]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Bool[Tensor, " N"]]]:
        present = {name: torch.tensor([name in study for study in studies]) for name in self.bundle.query}
        inputs = {
            name: self._inputs(name, [study[name] for study in studies if name in study])
            for name, mask in present.items()
            if mask.any()
        }
        return inputs, present

    def encode(self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " N"]]) -> Evidence:
        """Encode collated inputs of ``N`` studies; ``inputs`` has rows only for those with the modality."""
        embeddings, distances = {}, {}
        dtype = self.bundle.texts.dtype
        for name in self.bundle.query:
            mask = present[name]
            embeddings[name] = torch.zeros(len(mask), self.bundle.model.widths[name], dtype=dtype)
            distances[name] = torch.zeros(len(mask), dtype=dtype)
            if mask.any():
                pooled, embedded = self.bundle.model(name, in_precision(inputs[name], dtype))
                embeddings[name][mask] = embedded
                distances[name][mask] = self.bundle.familiar[name].distance(pooled)
        masks = {name: present[name] for name in self.bundle.query}
        return Evidence(embeddings=embeddings, present=masks, distances=distances)

    @torch.inference_mode()
    def outputs(
        self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " N"]]
    ) -> Float[Tensor, "N K"]:
        """Return the scores of the findings, then the estimates, of collated inputs."""
        return self._values(self.encode(inputs, present))[:, -1]

    def log_odds(
        self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " N"]]
    ) -> Float[Tensor, "N F"]:
        """Return only the scores of the findings of collated inputs."""
        return self.outputs(inputs, present)[:, : len(self.bundle.findings)]

    def _values(self, evidence: Evidence) -> Float[Tensor, "N S K"]:
        """Return the scores and estimates from each of the ``S`` coalitions, without missing modalities."""
        count, sets = len(next(iter(evidence.present.values()))), len(self._coalitions)
        # Row ``n * S + s`` is study ``n`` with the modalities of coalition ``s`` alone.
        query = {name: value.repeat_interleave(sets, dim=0) for name, value in evidence.embeddings.items()}
        present = {
            name: (evidence.present[name][:, None] & self._coalitions[None, :, index]).flatten()
            for index, name in enumerate(self.bundle.query)
        }
        return self._outputs(query, present).unflatten(0, (count, sets))

    def _gates(self, evidence: Evidence) -> dict[str, Float[Tensor, " N"]]:
        model = self.bundle.model
        if not isinstance(model, ZeroShotModel) or not isinstance(model.objective, ReliabilityGate):
            return {}
        return model.objective.gates(evidence.embeddings)

    def _study_scores(
        self,
        row: int,
        evidence: Evidence,
        values: Float[Tensor, "S K"],
        gates: Mapping[str, Float[Tensor, " N"]],
        problems: Mapping[str, str],
    ) -> StudyScores:
        uses = {
            name: self._use(name, evidence, row, float(gates[name][row]) if name in gates else None, problems.get(name))
            for name in self.bundle.query
        }
        used = [name for name, use in uses.items() if use.used]
        unfamiliar = [name for name, use in uses.items() if use.out_of_distribution]
        count = len(self.bundle.findings)
        return StudyScores(
            bundle=self.bundle.digest,
            modalities=uses,
            findings=tuple(self._findings(used, unfamiliar, values[:, :count])),
            estimates=tuple(self._estimates(used, unfamiliar, values[:, count:])),
            notes=tuple(_notes(uses, unfamiliar)),
        )

    def _use(self, name: str, evidence: Evidence, row: int, gate: float | None, problem: str | None) -> ModalityUse:
        used, limit = bool(evidence.present[name][row]), self.bundle.familiar[name].limit
        distance = float(evidence.distances[name][row]) if used else None
        return ModalityUse(
            used=used,
            gate=gate if used else None,
            distance=distance,
            limit=limit,
            out_of_distribution=distance is not None and distance > limit,
            problem=problem,
        )

    def _findings(
        self, used: Sequence[str], unfamiliar: Sequence[str], values: Float[Tensor, "S F"]
    ) -> Iterator[FindingScore]:
        key, scores = subset_key(used, self.bundle.query), values[-1].double().numpy()
        rules: Mapping[str, DecisionRule | None] = self.bundle.content.rules.get(
            key, dict.fromkeys(self.bundle.findings)
        )
        intervals = (
            probability_intervals(scores, self.bundle.draws[self._rule_indices[key]])
            if key in self._rule_indices
            else [None] * len(scores)
        )
        shares = self._contributions(used, values)
        for index, name in enumerate(self.bundle.findings):
            score, rule = float(scores[index]), rules[name]
            reason = _reason(rule, score, unfamiliar, self.bundle.content.alpha)
            yield _finding(name, score, rule, reason, intervals[index], shares[index])

    def _estimates(
        self, used: Sequence[str], unfamiliar: Sequence[str], values: Float[Tensor, "S E"]
    ) -> Iterator[EstimateScore]:
        if self.bundle.content.head is None:
            return
        rules = self.bundle.content.head.estimates[subset_key(used, self.bundle.query)]
        columns = zip(self.bundle.estimated, values[-1].tolist(), self._contributions(used, values), strict=True)
        for label, value, shares in columns:
            yield estimate_score(label, value, rules[label.name], _unlike(unfamiliar), shares)

    def _contributions(self, used: Sequence[str], values: Float[Tensor, "S K"]) -> list[dict[str, float]]:
        """Return the Shapley values of the used modalities, for each column."""
        return [
            {name: share for name, share in zip(self.bundle.query, column, strict=True) if name in used}
            for column in (self._shares.to(values.dtype) @ values).T.tolist()
        ]


def _finding(
    name: str,
    score: float,
    rule: DecisionRule | None,
    reason: str | None,
    interval: tuple[float, float] | None,
    contributions: dict[str, float],
) -> FindingScore:
    probability = rule.probability(score) if rule is not None else None
    threshold = rule.threshold if rule is not None else None
    possible = rule.possible(score) if rule is not None else ("absent", "present")
    decision: Decision | None = None
    if reason is None and probability is not None and threshold is not None:
        decision = "present" if probability >= threshold else "absent"
        if possible != (decision,):
            reason = f"the threshold gives {decision}, but the prediction set holds only {possible[0]}"
            decision = None
    return FindingScore(
        name=name,
        score=score,
        probability=probability,
        interval=interval if probability is not None else None,
        threshold=threshold,
        decision=decision,
        abstained=decision is None,
        reason=reason,
        possible=possible,
        contributions=contributions,
        auroc=rule.auroc if rule is not None else None,
    )


def _reason(rule: DecisionRule | None, score: float, unfamiliar: Sequence[str], alpha: float) -> str | None:
    """Return the reason to abstain; None if a decision can be made."""
    if rule is None:
        return "this finding was added by prompts: it has no calibration and no measured performance"
    if unfamiliar:
        return _unlike(unfamiliar)
    if rule.problem is not None:
        return rule.problem
    if rule.threshold is None or rule.slope is None or rule.intercept is None:
        return "there is no threshold or calibration for these modalities"
    possible = rule.possible(score)
    if len(possible) == 1:
        return None
    classes = "both classes" if possible else "neither class"
    return f"at {1 - alpha:.0%} coverage the prediction set holds {classes}"


def _unlike(unfamiliar: Sequence[str]) -> str | None:
    if not unfamiliar:
        return None
    verb = "is" if len(unfamiliar) == 1 else "are"
    return f"{' and '.join(unfamiliar)} {verb} unlike the studies that the model was trained on"


def _notes(uses: Mapping[str, ModalityUse], unfamiliar: Sequence[str]) -> list[str]:
    notes = [f"{name} could not be read: {use.problem}" for name, use in uses.items() if use.problem is not None]
    return [*notes, *(f"{name} is unlike the studies that the model was trained on" for name in unfamiliar)]
