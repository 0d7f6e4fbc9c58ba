"""Frozen and adapted encoders in contrastive and masked pretraining."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from masked_tasks import batch_of, masked_task
from polyclinic.data import Batch
from polyclinic.nn import Frozen
from polyclinic.nn.lora import Lora
from polyclinic.objectives import Clip, Cwcl, EmbeddingBatch
from polyclinic.tasks import ContrastivePretraining
from pulse_plugin import Pulse

NAMES = ("first", "second")
SIZE = 6


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        inputs={name: {"vitals": torch.randn(SIZE, 2, generator=generator)} for name in NAMES},
        present={name: torch.ones(SIZE, dtype=torch.bool) for name in NAMES},
        labels=torch.zeros(SIZE, 0),
        study_ids=[f"S{number}" for number in range(SIZE)],
        patient_ids=[f"P{number}" for number in range(SIZE)],
        broken=(),
    )


def contrast(**settings: Any) -> ContrastivePretraining:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    return ContrastivePretraining(modalities=modalities, **{"objective": Clip(), "embedding": 8, **settings})


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def train(task: L.LightningModule, studies: Batch | None = None) -> None:
    loader = torch.utils.data.DataLoader([studies or batch()], batch_size=None)
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=1, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(task, loader, loader)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Found .* module.* in eval mode")
@pytest.mark.parametrize(
    "make",
    [
        lambda **given: contrast(**given),
        lambda **given: contrast(objective=Cwcl(teacher="first"), **given),
        lambda **given: contrast(micro_batch=2, **given),
    ],
    ids=["contrast", "teacher", "micro-batches"],
)
def test_a_frozen_encoder_is_the_same_to_the_bit_after_training(make: Callable[..., Any]) -> None:
    task = make(adapters={"first": Frozen()})
    frozen, trained = state(task.encoders["first"]), state(task.encoders["second"])
    train(task)
    assert all(torch.equal(value, frozen[name]) for name, value in task.encoders["first"].state_dict().items())
    assert any(not torch.equal(value, trained[name]) for name, value in task.encoders["second"].state_dict().items())
    assert not any(module.training for module in task.encoders["first"].modules())
    assert all(parameter.grad is None for parameter in task.encoders["first"].parameters())


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Found .* module.* in eval mode")
def test_a_frozen_encoder_is_the_same_after_masked_pretraining(phantom_cohort: Path) -> None:
    task = masked_task(adapters={"ecg": Frozen()})
    studies = batch_of(phantom_cohort, 8)
    before, decoders = state(task.encoders["ecg"]), state(task.decoders)
    train(task, studies)
    assert all(torch.equal(value, before[name]) for name, value in task.encoders["ecg"].state_dict().items())
    assert any(not torch.equal(value, decoders[name]) for name, value in task.decoders.state_dict().items())


def test_a_frozen_encoder_has_no_gradient_and_the_others_have_that_of_a_free_one() -> None:
    losses = {}
    for name, adapters in (("free", None), ("frozen", {"first": Frozen()})):
        task = contrast(adapters=adapters)
        task.configure_model()
        pooled = task.encoders["first"](batch().inputs["first"]).pooled
        assert pooled.requires_grad == (name == "free")
        loss = task.objective.loss(_studies(task))
        loss.backward()
        losses[name] = (loss, [p.grad.clone() for p in task.encoders["second"].parameters()])
    torch.testing.assert_close(losses["frozen"], losses["free"], rtol=0, atol=0)


def _studies(task: ContrastivePretraining) -> Any:
    return EmbeddingBatch.of(task(batch()), batch().present, None)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_low_rank_updates_train_alone_and_can_be_merged_into_the_weights() -> None:
    task = contrast(adapters={"first": Lora(rank=2)})
    before = state(task.encoders["first"])
    train(task)
    after = state(task.encoders["first"])
    kept = [name for name in after if "lora_" not in name]
    assert all(torch.equal(after[name], before[name.replace(".base_layer", "")]) for name in kept)
    assert any(bool((after[name] != 0).any()) for name in after if "lora_B" in name)
    task.eval()
    expected = task(batch())["first"]
    task.adapters["first"].merge(task.encoders["first"])
    assert set(task.encoders["first"].state_dict()) == set(before)
    torch.testing.assert_close(task(batch())["first"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [contrast, lambda **given: masked_task(("ecg",), **given)])
def test_an_adapter_of_another_modality_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"got modality 'third'.* set `model\.adapters`"):
        make(adapters={"third": Frozen()})


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Found .* module.* in eval mode")
def test_the_readout_alone_of_a_frozen_encoder_is_trained_where_that_is_set() -> None:
    task = contrast(adapters={"first": Frozen(readout=True)})
    before = state(task.encoders["first"])
    train(task)
    changed = {
        name for name, value in task.encoders["first"].state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith("pool.") for name in changed)
    assert task.encoders["first"].pool.training
    assert not task.encoders["first"].trunk.training
    with pytest.raises(ValueError, match="got readout true for TransformerEncoder, which has no readout with weights"):
        masked_task(("ecg",), adapters={"ecg": Frozen(readout=True)}).configure_model()
