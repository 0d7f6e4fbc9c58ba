"""The scores of a bundle as a function of the features of its modalities: by prompts, or by a trained head."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.deploy.bundle import Bundle
from polyclinic.models.ensemble import SupervisedEnsemble
from polyclinic.models.supervised import SupervisedModel
from polyclinic.models.zero_shot import ZeroShotModel
from polyclinic.prompts import finding_score

OutputFunction: TypeAlias = Callable[
    [Mapping[str, Float[Tensor, "N _"]], Mapping[str, Bool[Tensor, " N"]]], Float[Tensor, "N K"]
]
"""Function from features and masks by input modality to the scores of the findings, then the estimates."""


def output_function(bundle: Bundle) -> OutputFunction:
    """Return the differentiable function that scores the studies of a batch independently of each other.

    Prompts score a study without a modality 0; a head has learned its output for no input.
    """
    if isinstance(bundle.model, ZeroShotModel):
        return _by_prompts(bundle, bundle.model)
    return _by_head(bundle, bundle.model)


def _by_prompts(bundle: Bundle, model: ZeroShotModel) -> OutputFunction:
    prompts = bundle.content.prompts
    assert prompts is not None
    columns, rule = prompts.columns().values(), prompts.score_rule

    def outputs(
        features: Mapping[str, Float[Tensor, "N _"]], present: Mapping[str, Bool[Tensor, " N"]]
    ) -> Float[Tensor, "N K"]:
        scores = model.objective.score(features, bundle.texts, present)
        found = torch.stack([finding_score(scores[:, yes], scores[:, no], rule) for yes, no in columns], dim=1)
        return found * torch.stack(list(present.values())).any(dim=0)[:, None]

    return outputs


def _by_head(bundle: Bundle, model: SupervisedModel | SupervisedEnsemble) -> OutputFunction:
    names = [*bundle.findings, *(label.name for label in bundle.estimated)]
    places = [model.targets.columns.index(name) for name in names]

    def outputs(
        features: Mapping[str, Float[Tensor, "N _"]], present: Mapping[str, Bool[Tensor, " N"]]
    ) -> Float[Tensor, "N K"]:
        first = next(iter(features.values()))
        # A fusion takes every modality of the run; those that are not input modalities count as missing.
        absent = {name: width for name, width in model.widths.items() if name not in features}
        zeros = {name: first.new_zeros(len(first), width) for name, width in absent.items()}
        missing = dict.fromkeys(absent, torch.zeros(len(first), dtype=torch.bool))
        return model.fuse({**features, **zeros}, {**present, **missing})[:, places]

    return outputs
