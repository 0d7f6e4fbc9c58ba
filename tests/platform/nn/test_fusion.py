"""Fusions: missing modalities do not matter, each equals its formula, and every study gets a prediction."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from polyclinic.nn import AttentionFusion, ConcatenationFusion, Fusion, PromptPoolFusion, SequentialFusion

WIDTHS = {"a": 3, "b": 5, "c": 4}
FUSIONS: dict[str, Callable[..., Fusion]] = {
    "concatenation": ConcatenationFusion,
    "attention": AttentionFusion,
    "stand_in": PromptPoolFusion,
    "sequential": SequentialFusion,
}
BATCH = 6


def _study(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(BATCH, width, generator=generator) for name, width in WIDTHS.items()}
    present = {name: torch.rand(BATCH, generator=generator) < 0.6 for name in WIDTHS}
    for name in WIDTHS:
        present[name][0], present[name][1] = True, False
    return features, present


def _fusion(kind: str, **settings: object) -> Fusion:
    torch.manual_seed(0)
    fusion = FUSIONS[kind](WIDTHS, 2, **settings)
    for parameter in fusion.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return fusion


@pytest.mark.parametrize("kind", FUSIONS)
def test_values_in_the_rows_of_a_missing_modality_do_not_matter(kind: str) -> None:
    fusion = _fusion(kind)
    features, present = _study()
    noisy = {name: torch.where(present[name][:, None], value, value + 100.0) for name, value in features.items()}
    first, second = fusion(features, present), fusion(noisy, present)
    torch.testing.assert_close(first.outputs, second.outputs)
    torch.testing.assert_close(torch.as_tensor(first.penalty), torch.as_tensor(second.penalty))


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_present_modality_matters_and_studies_do_not_mix(kind: str) -> None:
    fusion = _fusion(kind).eval()
    features, present = _study()
    before = fusion(features, present).outputs
    for name in WIDTHS:
        moved = fusion({**features, name: features[name] + 1.0}, present).outputs
        changed = (moved - before).abs().amax(dim=1) > 1e-6
        assert torch.equal(changed, present[name])
    rows = torch.tensor([4, 1, 3])
    picked = fusion({n: v[rows] for n, v in features.items()}, {n: p[rows] for n, p in present.items()}).outputs
    torch.testing.assert_close(picked, before[rows])


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_parameter_gets_a_gradient_even_when_no_study_has_a_modality(kind: str) -> None:
    fusion = _fusion(kind)
    features, present = _study()
    present["b"] = torch.zeros(BATCH, dtype=torch.bool)
    fused = fusion(features, present)
    total = fused.outputs.sum() + fused.penalty + sum(readout.outputs.sum() for readout in fused.earlier)
    total.backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_concatenation_is_a_perceptron_on_features_and_learned_vectors() -> None:
    fusion = _fusion("concatenation", hidden=7)
    features, present = _study()
    rows = [torch.cat([features[n][i] if present[n][i] else fusion.absent[n] for n in WIDTHS]) for i in range(BATCH)]
    first, _, last = fusion.predict
    torch.testing.assert_close(fusion(features, present).outputs, last(F.gelu(first(torch.stack(rows)))))
    assert isinstance(_fusion("concatenation", hidden=0).predict, torch.nn.Linear)


def test_attention_weighs_available_modalities_by_softmax() -> None:
    fusion = _fusion("attention", width=8, heads=2, hidden=0).double()
    features, present = _study()
    features = {name: value.double() for name, value in features.items()}
    outputs = fusion(features, present).outputs
    for i in range(BATCH):
        tokens = [fusion.always[0, 0]] + [fusion.enter[n](features[n][i]) for n in WIDTHS if present[n][i]]
        pooled = []
        for head in range(2):
            keys, values = zip(*(fusion.key_value(fusion.norm(t)).chunk(2) for t in tokens), strict=True)
            part = slice(4 * head, 4 * head + 4)
            scores = torch.stack([fusion.query[0, head, 0] @ key[part] / 2.0 for key in keys])
            pooled.append(sum(w * v[part] for w, v in zip(scores.softmax(0), values, strict=True)))
        torch.testing.assert_close(outputs[i], fusion.predict(torch.cat(pooled)))


def test_stand_ins_are_the_nearest_entries_weighted_by_similarity() -> None:
    fusion = _fusion("stand_in", pool=5, chosen=2, width=6, hidden=0, temperature=0.3).double()
    features, present = _study()
    features = {name: value.double() for name, value in features.items()}
    outputs = fusion(features, present).outputs
    for i in range(BATCH):
        entered = [fusion.enter[n](features[n][i]) for n in WIDTHS if present[n][i]]
        query = sum(entered) / len(entered) if entered else fusion.nothing
        parts = []
        for n in WIDTHS:
            if present[n][i]:
                parts.append(features[n][i])
                continue
            similar = [float(F.cosine_similarity(query, key, dim=0).detach()) for key in fusion.keys[n]]
            best = sorted(range(5), key=lambda entry: -similar[entry])[:2]
            share = torch.tensor([similar[entry] / 0.3 for entry in best], dtype=torch.float64).softmax(0)
            parts.append(sum(s * fusion.entries[n][entry] for s, entry in zip(share, best, strict=True)))
        torch.testing.assert_close(outputs[i], fusion.predict(torch.cat(parts)))


def test_sequence_updates_the_state_with_each_available_modality_and_predicts_from_each_state_once() -> None:
    fusion = _fusion("sequential", state=6, hidden=0, change_penalty=0.5).double()
    features, present = _study()
    features = {name: value.double() for name, value in features.items()}
    fused = fusion(features, present)
    changes = []
    for i in range(BATCH):
        state = fusion.start[0]
        readings = [fusion.predict(fusion.norm(state))]
        for n in WIDTHS:
            if present[n][i]:
                change = fusion.change[n](torch.cat([fusion.norm(state), features[n][i]]))
                changes.append(change.square().mean())
                state = state + change
                readings.append(fusion.predict(fusion.norm(state)))
        torch.testing.assert_close(fused.outputs[i], readings[-1])
        predictions = [readout.outputs[i] for readout in fused.earlier if readout.rows[i]]
        torch.testing.assert_close(torch.stack(predictions), torch.stack(readings))
    torch.testing.assert_close(fused.penalty, 0.5 * torch.stack(changes).mean())


def test_order_is_shuffled_only_during_training() -> None:
    fusion = _fusion("sequential", shuffled=True)
    features, present = _study()
    fusion.eval()
    assert torch.equal(fusion(features, present).outputs, fusion(features, present).outputs)
    fusion.train()
    complete = {fusion(features, present).outputs[0, 0].item() for _ in range(20)}
    assert len(complete) > 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AttentionFusion(WIDTHS, 2, width=10, heads=4), "width 10 with 4 heads.*multiple"),
        (lambda: PromptPoolFusion(WIDTHS, 2, pool=3, chosen=4), "chosen 4 of pool 3.*set `chosen`"),
        (lambda: PromptPoolFusion(WIDTHS, 2, temperature=0.0), "positive temperature"),
    ],
)
def test_invalid_settings_are_refused(build: Callable[[], Fusion], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
