"""Masked pretraining: masks, computation on visible tokens, imputation, and refused settings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from masked_tasks import MODALITIES, batch_of, masked_task
from polyclinic.data import Batch
from polyclinic.tasks import MaskedPretraining


@pytest.fixture(scope="module")
def batch(phantom_cohort: Path) -> Batch:
    """Return sixteen validation and training studies of five modalities, many of them missing."""
    return batch_of(phantom_cohort, 16)


def _without_log(task: MaskedPretraining) -> MaskedPretraining:
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


def test_the_loss_is_the_mean_of_the_modalities_means(batch: Batch) -> None:
    task = _without_log(masked_task(weights={"ecg": 3.0}))
    hidden = task.draw_masks(batch, 1)
    predicted = task(batch, hidden)
    expected, total = 0.0, 0.0
    for name, weight in {**dict.fromkeys(MODALITIES, 1.0), "ecg": 3.0}.items():
        reconstruction = task.decoders.reconstruction(name)
        targets = reconstruction.targets(batch.inputs[name], hidden[name])
        losses = [reconstruction.loss(p[None], t[None])[0] for p, t in zip(predicted[name], targets, strict=True)]
        expected, total = expected + weight * torch.stack(losses).mean(), total + weight
    torch.testing.assert_close(task.training_step(batch, 0), expected / total)


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    task = _without_log(masked_task(budget=40))
    task.training_step(batch, 0).backward()
    assert not [name for name, p in task.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert all((p.grad != 0).any() for p in task.encoders.parameters())


def test_masks_of_a_study_are_the_same_in_any_batch(batch: Batch) -> None:
    for settings in ({}, {"budget": 40}):
        task = masked_task(**settings)
        masks = task.draw_masks(batch, 3)
        rows = torch.zeros(16, dtype=torch.bool)
        rows[[2, 5, 11]] = True
        part = task.draw_masks(batch.select(rows), 3)
        for name, hidden in part.items():
            assert (masks[name][rows[batch.present[name]]][:, : hidden.shape[1]] == hidden).all(), name
        masks_of_next_step = task.draw_masks(batch, 4)
        assert any(not torch.equal(masks_of_next_step[name], masks[name]) for name in masks)


def test_ratios_and_budget_set_how_much_is_visible(batch: Batch) -> None:
    plain = masked_task(ratios={"xray": 0.9}).draw_masks(batch, 1)
    assert (plain["xray"].sum(dim=1) == round(0.9 * 16)).all()
    task = masked_task(budget=24)
    hidden = task.draw_masks(batch, 1)
    visible = torch.zeros(16, dtype=torch.int64)
    maskable = torch.zeros(16, dtype=torch.int64)
    for name, mask in hidden.items():
        units = task.decoders.reconstruction(name).units(batch.inputs[name]).expand_as(mask) >= 0
        visible[batch.present[name]] += (units & ~mask).sum(dim=1)
        maskable[batch.present[name]] += units.sum(dim=1)
    assert (visible <= 24).all()
    # Words are hidden whole, so that a report may take a little less than its share.
    assert (visible >= torch.minimum(maskable - 1, torch.tensor(24)) - 8).all()


def test_one_modality_of_each_study_is_hidden_completely_in_a_share_of_steps(batch: Batch) -> None:
    task = masked_task(budget=40, whole=0.5)
    without_whole = masked_task(budget=40)
    units = {name: task.decoders.reconstruction(name).units(inputs) >= 0 for name, inputs in batch.inputs.items()}
    several = torch.stack(list(batch.present.values())).sum(dim=0) > 1
    steps = 0
    for step in range(60):
        hidden, expected = task.draw_masks(batch, step), without_whole.draw_masks(batch, step)
        if all(torch.equal(hidden[name], expected[name]) for name in hidden):
            continue
        steps += 1
        all_of, any_of = torch.zeros(16, dtype=torch.int64), torch.zeros(16, dtype=torch.int64)
        for name, mask in hidden.items():
            all_of[batch.present[name]] += (mask == units[name]).all(dim=1).long()
            any_of[batch.present[name]] += mask.any(dim=1).long()
        assert (all_of[several] == 1).all()
        assert (any_of[several] == 1).all()
        single = ~several
        for name, mask in hidden.items():
            rows = single[batch.present[name]]
            assert torch.equal(mask[rows], expected[name][rows])
    assert 20 <= steps <= 40
    assert torch.equal(task.draw_masks(batch)["ecg"], without_whole.draw_masks(batch)["ecg"])


def test_a_study_is_predicted_as_if_it_were_alone(batch: Batch) -> None:
    task = masked_task(budget=40).eval()
    hidden = task.draw_masks(batch)
    in_batch = task(batch, hidden)
    for study in (0, 7):
        row = torch.arange(16) == study
        single = batch.select(row)
        predicted = task(single, task.draw_masks(single))
        for name, values in predicted.items():
            before = int(hidden[name][: int(batch.present[name][:study].sum())].sum())
            torch.testing.assert_close(in_batch[name][before : before + len(values)], values, rtol=1e-4, atol=1e-4)


def test_modalities_start_independent_of_each_other(batch: Batch) -> None:
    torch.manual_seed(0)
    task = MaskedPretraining(modalities=MODALITIES, size="pico", joint_width=32, decoder_width=32).eval()
    hidden = task.draw_masks(batch)
    present = {name: rows if name == "ecg" else torch.zeros_like(rows) for name, rows in batch.present.items()}
    single = replace(batch, inputs={"ecg": batch.inputs["ecg"]}, present=present)
    torch.testing.assert_close(task(batch, hidden)["ecg"], task(single, hidden)["ecg"])


def test_encoders_compute_visible_tokens_only(batch: Batch) -> None:
    task = masked_task(size="nano")
    hidden = task.draw_masks(batch)
    for name, largest_share in (("xray", 0.3), ("ecg", 0.35)):
        encoder, counted = task.encoders[name], []
        tokens = encoder.tokenize(batch.inputs[name])
        for mask in (hidden[name], torch.zeros_like(hidden[name])):
            with FlopCounterMode(display=False) as flops:
                encoder.encode(tokens, mask)
            counted.append(flops.get_total_flops())
        assert counted[0] < largest_share * counted[1]


def test_a_single_modality_can_be_pretrained(batch: Batch) -> None:
    task = _without_log(masked_task(["xray"]))
    assert task.decoders.joint is None
    xray = replace(batch, inputs={"xray": batch.inputs["xray"]}, present={"xray": batch.present["xray"]})
    task.training_step(xray, 0).backward()
    assert all(p.grad is not None for p in task.parameters())
    with pytest.raises(ValueError, match="nothing to predict it from"):
        task.impute(xray, ["xray"])


def test_a_batch_without_a_modality_still_gives_every_parameter_a_gradient(batch: Batch) -> None:
    task = _without_log(masked_task(read_depths={"xray": 1}))
    inputs = {"xray": batch.inputs["xray"]}
    present = {name: rows if name == "xray" else torch.zeros_like(rows) for name, rows in batch.present.items()}
    part = replace(batch, inputs=inputs, present=present)
    task.training_step(part, 0).backward()
    assert all(p.grad is not None for p in task.parameters())
    assert (torch.cat([p.grad.flatten() for p in task.encoders["ecg"].parameters()]) == 0).all()
    empty = replace(batch, inputs={}, present={name: torch.zeros_like(rows) for name, rows in present.items()})
    loss = task.training_step(empty, 0)
    assert loss == 0
    loss.backward()


def test_missing_modalities_are_predicted_from_the_others(batch: Batch) -> None:
    task = masked_task().eval()
    filled = task.impute(batch, list(MODALITIES))
    absent = task.decoders.absent_studies(batch.present)
    assert set(filled) == {name for name, rows in absent.items() if rows.any()} >= {"audio", "tabular"}
    for name, inputs in filled.items():
        assert len(next(iter(inputs.values()))) == int(absent[name].sum())
    # Another study's data changes nothing, its own changes the prediction.
    study = int(absent["audio"].nonzero()[0])
    source = next(name for name in batch.inputs if batch.present[name][study] and name == "ecg")
    changed = {key: value.clone() for key, value in batch.inputs[source].items()}
    changed["signal"][int(batch.present[source][:study].sum())] += 0.3
    altered = replace(batch, inputs={**batch.inputs, source: changed})
    repredicted = task.impute(altered, ["audio"])["audio"]["mel"]
    same = [torch.allclose(before, after) for before, after in zip(filled["audio"]["mel"], repredicted, strict=True)]
    assert same.count(False) == 1
    assert not same[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratios": {"xray": 1.0}}, r"got mask ratios \{'xray': 1.0\}, expected shares between 0 and 1"),
        ({"ratios": {"xray": 0.0}}, "got mask ratios"),
        ({"ratios": {"pet": 0.5}}, r"got `model.ratios` \{'pet': 0.5\}"),
        ({"weights": {"xray": -1.0}}, r"got `model.weights` \{'xray': -1.0\}"),
        ({"budget": 4}, "got a budget of 4 visible tokens for 5 modalities"),
        ({"budget": 40, "concentration": 0.0}, "got concentration 0.0"),
        ({"whole": 1.5}, "got concentration 1.0 and whole 1.5"),
        ({"read_depths": {"xray": 9}}, "set `model.read_depths`"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masked_task(**settings)
