import numpy as np
import torch

from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_tabular import MLPEncoder, Tabular


class TestTabular(ModalityConformance):
    def modality(self) -> Modality:
        return Tabular()


class TestTabularZScore(ModalityConformance):
    def modality(self) -> Modality:
        return Tabular(scaling="zscore")


def _batch(missing: float) -> dict[str, torch.Tensor]:
    return {
        "values": torch.tensor([[0.3, missing], [0.3, 0.6]]),
        "observed": torch.tensor([[True, False], [True, True]]),
        "levels": torch.tensor([[0], [2]]),
    }


def test_the_placeholder_of_a_missing_value_has_no_effect() -> None:
    tabular = Tabular(numeric=["a", "b"], categorical={"c": ["x", "y"]})
    encoder = tabular.default_encoder("nano").eval()
    zero, other = encoder(_batch(0.0)).pooled, encoder(_batch(5.0)).pooled
    torch.testing.assert_close(zero, other)
    assert not torch.allclose(zero[0], zero[1])


def test_levels_of_different_columns_have_separate_embeddings() -> None:
    tabular = Tabular(numeric=[], categorical={"a": ["x", "y"], "b": ["p", "q", "r"]})
    tokenizer = tabular.default_encoder("nano").tokenizer
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    empty = torch.zeros(12, 0)
    tokens = tokenizer({"values": empty, "observed": empty.bool(), "levels": pairs}).values.detach().numpy()
    assert len(np.unique(tokens.reshape(24, -1), axis=0)) == 7


def test_the_mlp_uses_values_flags_and_levels() -> None:
    encoder = MLPEncoder(numeric=2, levels=[2], width=16)
    encoded = encoder(_batch(0.0))
    assert encoded.tokens.shape == (2, 1, 16)
    assert encoded.pooled.shape == (2, 16)
    for name, changed in (("values", 0.9), ("observed", False), ("levels", 1)):
        batch = _batch(0.0)
        batch[name][1, 0] = changed
        assert not torch.allclose(encoder(batch).pooled[1], encoded.pooled[1])
