"""Score studies with a bundle: decisions, prediction sets, and exact Shapley values of the modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.deploy.bundle import Bundle, DecisionRule, subset_key
from polyclinic.deploy.bundle.format import probability_intervals
from polyclinic.deploy.scoring.scores import FindingScore, ModalityUse, StudyScores
from polyclinic.modality import Item
from polyclinic.models.zero_shot import in_precision
from polyclinic.nn.relevance import token_relevance
from polyclinic.objectives import ReliabilityGate
from polyclinic.prompts import finding_score


def coalitions(players: int) -> Bool[Tensor, "S M"]:
    """Every set of players, the empty one first: row ``s`` holds player ``m`` where bit ``m`` of ``s`` is set."""
    numbers = torch.arange(2**players)
    return (numbers[:, None] >> torch.arange(players)) % 2 == 1


def shapley_weights(players: int) -> Float[Tensor, "M S"]:
    """What takes the values of all coalitions to each player's share (Shapley 1953, equation 12)."""
    weights = torch.zeros(players, 2**players, dtype=torch.float64)
    for player in range(players):
        others = [one for one in range(players) if one != player]
        for size in range(players):
            share = factorial(size) * factorial(players - size - 1) / factorial(players)
            for some in combinations(others, size):
                without = sum(1 << one for one in some)
                weights[player, without | 1 << player] += share
                weights[player, without] -= share
    return weights


Study = Mapping[str, Item]
"""The prepared items of one study, by modality."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the encoders make of ``N`` studies; zeros where one lacks a modality.

    Attributes:
        embeddings: by modality.
        present: by modality.
        distances: by modality, from the training studies.
    """

    embeddings: dict[str, Float[Tensor, "N d"]]
    present: dict[str, Bool[Tensor, " N"]]
    distances: dict[str, Float[Tensor, " N"]]


class StudyScorer:
    """Scores studies with a bundle; the scores of one do not depend on the others.

    Args:
        bundle: loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._coalitions = coalitions(len(bundle.query))
        self._shares = shapley_weights(len(bundle.query))
        self._columns = bundle.content.prompts.columns()
        self._places = {key: place for place, key in enumerate(bundle.content.rules)}

    @torch.inference_mode()
    def score(self, studies: Sequence[Study], problems: Sequence[Mapping[str, str]] | None = None) -> list[StudyScores]:
        """Score each study by the modalities it has.

        Args:
            studies: prepared items; modalities that do not speak are left aside.
            problems: per study and modality, why a source could not be read.

        Raises:
            ValueError: a study without any modality that may speak.
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
        told = problems or [{}] * len(studies)
        return [self._told(row, evidence, values[row], gates, told[row]) for row in range(len(studies))]

    def relevance(self, study: Study, finding: str) -> dict[str, Float[Tensor, " T"]]:
        """How much each token of each modality raises the finding's score, all other modalities held fixed.

        Raises:
            ValueError: a finding that the bundle does not have; or nothing leads from the tokens to the score.
        """
        if finding not in self._columns:
            raise ValueError(f"got finding {finding!r}, expected one of {self.bundle.findings}; set `explain`")
        with torch.no_grad():
            evidence = self.encode(*self._collated([study]))
        return {name: self._relevance(study, finding, name, evidence) for name in self.bundle.query if name in study}

    def _relevance(self, study: Study, finding: str, name: str, evidence: Evidence) -> Float[Tensor, " T"]:
        model, (yes, no) = self.bundle.model, self._columns[finding]

        def score(pooled: Float[Tensor, "1 D"]) -> Float[Tensor, " 1"]:
            query = {**evidence.embeddings, name: model.heads[name](pooled)}
            scores = model.objective.score(query, self.bundle.texts, evidence.present)
            return finding_score(scores[:, yes], scores[:, no], self.bundle.content.prompts.score_rule)

        return token_relevance(model.encoder(name), self._inputs(name, [study[name]]), score)[0]

    def _inputs(self, name: str, items: Sequence[Item]) -> dict[str, Tensor]:
        return in_precision(self.bundle.modalities[name].collate(items), self.bundle.texts.dtype)

    def _collated(self, studies: Sequence[Study]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Bool[Tensor, " N"]]]:
        present = {name: torch.tensor([name in study for study in studies]) for name in self.bundle.query}
        inputs = {
            name: self._inputs(name, [study[name] for study in studies if name in study])
            for name, there in present.items()
            if there.any()
        }
        return inputs, present

    def encode(self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " N"]]) -> Evidence:
        """Encode collated inputs of ``N`` studies; ``inputs`` has rows for those that ``present`` says only."""
        embeddings, distances = {}, {}
        width, kind = self.bundle.texts.shape[1], self.bundle.texts.dtype
        for name in self.bundle.query:
            there = present[name]
            embeddings[name] = torch.zeros(len(there), width, dtype=kind)
            distances[name] = torch.zeros(len(there), dtype=kind)
            if there.any():
                pooled, embedded = self.bundle.model(name, in_precision(inputs[name], kind))
                embeddings[name][there] = embedded
                distances[name][there] = self.bundle.familiar[name].distance(pooled)
        shown = {name: present[name] for name in self.bundle.query}
        return Evidence(embeddings=embeddings, present=shown, distances=distances)

    @torch.inference_mode()
    def log_odds(
        self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " N"]]
    ) -> Float[Tensor, "N F"]:
        """Scores alone, of collated inputs."""
        return self._values(self.encode(inputs, present))[:, -1]

    def _values(self, evidence: Evidence) -> Float[Tensor, "N S F"]:
        """Every finding's score from every set of modalities, as far as a study has them; 0 from none."""
        count, sets = len(next(iter(evidence.present.values()))), len(self._coalitions)
        query = {name: value.repeat_interleave(sets, dim=0) for name, value in evidence.embeddings.items()}
        shown = {
            name: (evidence.present[name][:, None] & self._coalitions[None, :, place]).flatten()
            for place, name in enumerate(self.bundle.query)
        }
        scores = self.bundle.model.objective.score(query, self.bundle.texts, shown)
        rule = self.bundle.content.prompts.score_rule
        columns = [finding_score(scores[:, yes], scores[:, no], rule) for yes, no in self._columns.values()]
        some = torch.stack(list(shown.values())).any(dim=0)
        return (torch.stack(columns, dim=1) * some[:, None]).unflatten(0, (count, sets))

    def _gates(self, evidence: Evidence) -> dict[str, Float[Tensor, " N"]]:
        objective = self.bundle.model.objective
        return objective.gates(evidence.embeddings) if isinstance(objective, ReliabilityGate) else {}

    def _told(
        self,
        row: int,
        evidence: Evidence,
        values: Float[Tensor, "S F"],
        gates: Mapping[str, Float[Tensor, " N"]],
        problems: Mapping[str, str],
    ) -> StudyScores:
        uses = {
            name: self._use(name, evidence, row, float(gates[name][row]) if name in gates else None, problems.get(name))
            for name in self.bundle.query
        }
        used = [name for name, use in uses.items() if use.used]
        strange = [name for name, use in uses.items() if use.out_of_distribution]
        findings = self._findings(used, strange, values)
        return StudyScores(
            bundle=self.bundle.digest, modalities=uses, findings=tuple(findings), notes=tuple(_notes(uses, strange))
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
        self, used: Sequence[str], strange: Sequence[str], values: Float[Tensor, "S F"]
    ) -> Iterator[FindingScore]:
        key, scores = subset_key(used, self.bundle.query), values[-1].double().numpy()
        rules: Mapping[str, DecisionRule | None] = self.bundle.content.rules.get(
            key, dict.fromkeys(self.bundle.findings)
        )
        known = key in self._places
        intervals = (
            probability_intervals(scores, self.bundle.draws[self._places[key]]) if known else [None] * len(scores)
        )
        shares = (self._shares.to(values.dtype) @ values).T.tolist()
        for place, (name, rule) in enumerate(rules.items()):
            score = float(scores[place])
            of_modality = {
                one: share for one, share in zip(self.bundle.query, shares[place], strict=True) if one in used
            }
            reason = _reason(rule, score, strange, self.bundle.content.alpha)
            yield _finding(name, score, rule, reason, intervals[place], of_modality)


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
    decision = None
    if reason is None and probability is not None and threshold is not None:
        decision = "present" if probability >= threshold else "absent"
        if possible != (decision,):
            reason = f"the threshold says {decision}, the prediction set leaves {possible[0]} alone: they disagree"
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


def _reason(rule: DecisionRule | None, score: float, strange: Sequence[str], alpha: float) -> str | None:
    """Why no decision is to be made; None where one is."""
    if rule is None:
        return "this finding was added by prompts: it has no calibration and no measured performance"
    if strange:
        return f"{' and '.join(strange)} unlike the studies that the model was trained on"
    if rule.problem is not None:
        return rule.problem
    if rule.threshold is None or rule.slope is None or rule.intercept is None:
        return "validation gives no threshold for these modalities"
    possible = rule.possible(score)
    if len(possible) == 1:
        return None
    left = "both answers" if possible else "neither answer"
    return f"at {1 - alpha:.0%} coverage {left} would be possible"


def _notes(uses: Mapping[str, ModalityUse], strange: Sequence[str]) -> list[str]:
    notes = [f"{name} could not be read: {use.problem}" for name, use in uses.items() if use.problem is not None]
    return [*notes, *(f"{name} is unlike the studies that the model was trained on" for name in strange)]
