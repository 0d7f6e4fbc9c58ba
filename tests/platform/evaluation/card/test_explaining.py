"""Token relevance against loops over the formulas of the papers, with gradients from finite differences."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erf, softmax
from torch import Tensor

from one_token_task import ValueTokenizer, planted_encoder
from polyclinic.nn import Encoded, Encoder, Transformer, TransformerEncoder, masked_mean
from polyclinic.nn.relevance import token_relevance
from polyclinic.nn.transformer import Attention, keep_attention
from polyclinic_tabular import MLPEncoder

_STEP = 1e-5


def encoder_of(*, depth: int, heads: int, width: int = 6, dropout: float = 0.0) -> TransformerEncoder:
    torch.manual_seed(3)
    trunk = Transformer(width=width, depth=depth, heads=heads, dropout=dropout)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return TransformerEncoder(tokenizer=ValueTokenizer(values=4, width=width), trunk=trunk).double()


def studies(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), 4, generator=generator, dtype=torch.float64)
    padding = torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]
    return {"values": values, "padding": padding}


def weights_by_loops(attention: Attention, x: np.ndarray) -> np.ndarray:
    """Compute the attention weights of one study without padding by loops, [H, T, T]."""
    size = x.shape[1] // attention.heads
    projected = x @ attention.qkv.weight.detach().numpy().T + attention.qkv.bias.detach().numpy()
    query, key, _ = np.split(projected, 3, axis=1)
    rows = np.empty((attention.heads, len(x), len(x)))
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            rows[head, i] = softmax([query[i, part] @ key[j, part] / np.sqrt(size) for j in range(len(x))])
    return rows


@pytest.mark.parametrize("heads", [1, 3])
def test_recorded_attention_is_the_softmax_of_query_times_key(heads: int) -> None:
    torch.manual_seed(0)
    attention = Attention(width=6, heads=heads).double()
    x, padding = torch.randn(2, 5, 6, dtype=torch.float64), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with keep_attention(attention) as recorded:
        attention(x, ~padding[:, None, None, :])
    (weights,) = recorded
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(2, heads, 5, dtype=torch.float64))
    assert not weights[1, :, :, 3:].any()
    np.testing.assert_allclose(weights[0].detach(), weights_by_loops(attention, x[0].numpy()), atol=1e-12)
    np.testing.assert_allclose(
        weights[1, :, :3, :3].detach(), weights_by_loops(attention, x[1, :3].numpy()), atol=1e-12
    )


def test_the_ordinary_path_is_bitwise_the_fused_one_before_and_after_recording() -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, heads=2)
    x, visible = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 4 + [False]])[:, None, None, :]
    q, k, v = attention.qkv(x).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    expected = attention.out(mixed.transpose(1, 2).reshape(2, 5, 8))
    before = attention(x, visible)
    with keep_attention(attention) as outer:
        during = attention(x, visible)
        with keep_attention(attention) as inner:
            attention(x, visible)
        attention(x, visible)
    torch.testing.assert_close(before, expected, rtol=0, atol=0)
    torch.testing.assert_close(attention(x, visible), expected, rtol=0, atol=0)
    torch.testing.assert_close(during, expected, rtol=1e-5, atol=1e-6)
    assert (len(outer), len(inner)) == (2, 1)


def test_attention_is_no_longer_recorded_after_an_error() -> None:
    attention = Attention(width=4, heads=1)
    with pytest.raises(RuntimeError, match="on purpose"), keep_attention(attention) as recorded:
        raise RuntimeError("on purpose")
    attention(torch.randn(1, 3, 4), None)
    assert recorded == []


def numeric_gradient(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    gradient = np.empty_like(at)
    for place in np.ndindex(*at.shape):
        higher, lower = at.copy(), at.copy()
        higher[place] += _STEP
        lower[place] -= _STEP
        gradient[place] = (function(higher) - function(lower)) / (2 * _STEP)
    return gradient


class ByHand:
    """Forward pass of one study through a one-headed trunk in numpy, in which attention weights can be replaced."""

    def __init__(self, encoder: TransformerEncoder, values: np.ndarray, direction: np.ndarray) -> None:
        self.state = {name: value.numpy() for name, value in encoder.state_dict().items()}
        self.depth, self.direction = len(encoder.trunk.blocks), direction
        self.entered = self._linear("tokenizer.embed", values)

    def final(self, replaced: dict[int, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the tokens after the last norm, and the attention weights of each layer."""
        x, used = self.entered, []
        for layer in range(self.depth):
            name = f"trunk.blocks.{layer}"
            q, k, v = np.split(
                self._linear(f"{name}.attention.qkv", self._norm(f"{name}.attention_norm", x)), 3, axis=1
            )
            weights = replaced.get(layer, softmax(q @ k.T / np.sqrt(k.shape[1]), axis=1))
            used.append(weights)
            x = x + self._linear(f"{name}.attention.out", weights @ v)
            hidden = self._linear(f"{name}.mlp.0", self._norm(f"{name}.mlp_norm", x))
            x = x + self._linear(f"{name}.mlp.2", hidden * (1 + erf(hidden / np.sqrt(2))) / 2)
        return self._norm("trunk.norm", x), used

    def score(self, tokens: np.ndarray) -> float:
        """Return the projection of the pooled mean and deviation onto the direction."""
        statistics = np.concatenate([tokens.mean(axis=0), np.sqrt(tokens.var(axis=0) + 1e-4)])
        return float(self._linear("pool.mix", statistics) @ self.direction)

    def relevance(self) -> np.ndarray:
        """Compute the relevance of Chefer et al. entry by entry, starting from the pooled tokens."""
        tokens, attention = self.final({})
        gradient = numeric_gradient(self.score, tokens)
        size = len(tokens)
        relevance = np.array([max(0.0, gradient[i] @ (tokens[i] - tokens.mean(axis=0))) for i in range(size)])
        for layer in reversed(range(self.depth)):
            slope = numeric_gradient(lambda a, layer=layer: self.score(self.final({layer: a})[0]), attention[layer])
            positive = np.maximum(attention[layer] * slope, 0)
            carried = relevance.copy()
            for i in range(size):
                for j in range(size):
                    if positive[i].sum() > 0:
                        carried[j] += relevance[i] * positive[i, j] / positive[i].sum()
            relevance = carried
        return relevance

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scaled = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]


@pytest.mark.parametrize("depth", [1, 3])
def test_relevance_is_the_formula_by_hand(depth: int) -> None:
    encoder, inputs = encoder_of(depth=depth, heads=1), studies([5, 3])
    direction = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    relevance = token_relevance(encoder, inputs, lambda pooled: pooled @ direction).numpy()
    for row, length in enumerate([5, 3]):
        expected = ByHand(encoder, inputs["values"][row, :length].numpy(), direction.numpy()).relevance()
        assert (expected > 0).any()
        # Central differences are accurate to about eight digits.
        np.testing.assert_allclose(relevance[row, :length], expected, atol=1e-7)
    assert not relevance[1, 3:].any()


def test_heads_count_by_their_mean() -> None:
    encoder, inputs = encoder_of(depth=1, heads=3), studies([6], seed=1)
    with keep_attention(encoder) as recorded:
        encoded = encoder.eval()(inputs)
    of_tokens, of_weights = torch.autograd.grad(encoded.pooled[0, 2], [encoded.tokens, recorded[0]])
    tokens, weights = encoded.tokens[0].detach(), recorded[0][0].detach()
    start = np.array([max(0.0, float(g @ (t - tokens.mean(dim=0)))) for g, t in zip(of_tokens[0], tokens, strict=True)])
    heads = np.stack([np.maximum((weights[head] * of_weights[0, head]).numpy(), 0) for head in range(3)])
    carried = []
    for joined in (heads.sum(axis=0) / 3, heads.max(axis=0)):
        carried.append(start + sum(value * row / row.sum() for value, row in zip(start, joined, strict=True)))
    assert np.abs(carried[0] - carried[1]).max() > 1e-2, "the mean and the largest must differ in this case"
    np.testing.assert_allclose(token_relevance(encoder, inputs, lambda p: p[:, 2])[0], carried[0], atol=1e-12)


def test_studies_do_not_see_each_other_nor_the_padding() -> None:
    encoder, inputs = encoder_of(depth=2, heads=3), studies([7, 2, 5])
    together = token_relevance(encoder, inputs, lambda pooled: pooled[:, 0])
    assert (together >= 0).all()
    assert not together[inputs["padding"]].any()
    for row, length in enumerate([7, 2, 5]):
        alone = {name: value[row : row + 1, :length] for name, value in inputs.items()}
        torch.testing.assert_close(
            token_relevance(encoder, alone, lambda pooled: pooled[:, 0])[0], together[row, :length], rtol=0, atol=1e-10
        )


@pytest.fixture
def restless() -> Iterator[TransformerEncoder]:
    """Yield an encoder in training mode, with dropout and half of its weights frozen."""
    encoder = encoder_of(depth=2, heads=2, dropout=0.5).train()
    encoder.pool.eval()
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("blocks.0" in name)
    yield encoder
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(parameter.requires_grad == ("blocks.0" in name) for name, parameter in encoder.named_parameters())
    assert encoder.trunk.training
    assert encoder.trunk.blocks[0].dropout.training
    assert not encoder.pool.training


def test_an_encoder_is_left_as_it_was_and_dropout_is_off(restless: TransformerEncoder) -> None:
    inputs, calm = studies([6, 4]), encoder_of(depth=2, heads=2).eval()
    expected = token_relevance(calm, inputs, lambda pooled: pooled[:, 1])
    for _ in range(2):
        relevance = token_relevance(restless, inputs, lambda pooled: pooled[:, 1])
        torch.testing.assert_close(relevance, expected, rtol=0, atol=0)
    assert not relevance.requires_grad


def test_an_encoder_is_left_as_it_was_after_an_error(restless: TransformerEncoder) -> None:
    with pytest.raises(ValueError, match="one number for each"):
        token_relevance(restless, studies([3]), lambda pooled: pooled)


@pytest.mark.parametrize("setting", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(setting: Callable, restless: TransformerEncoder) -> None:
    expected = token_relevance(restless, studies([6]), lambda pooled: pooled[:, 1])
    with setting():
        relevance = token_relevance(restless, studies([6]), lambda pooled: pooled[:, 1])
    np.testing.assert_array_equal(relevance.numpy(), expected.numpy())


def test_frozen_weights_do_not_change_the_relevance() -> None:
    encoder, inputs = encoder_of(depth=1, heads=1), studies([4])
    expected = token_relevance(encoder, inputs, lambda pooled: pooled[:, 0])
    frozen = token_relevance(encoder.requires_grad_(False), inputs, lambda pooled: pooled[:, 0])
    torch.testing.assert_close(frozen, expected, rtol=0, atol=0)
    assert expected.any()


class Mean(Encoder):
    """Linear tokens pooled by their mean, as in a convolutional backbone."""

    def __init__(self, *, related: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.width, self.embed, self.related = 5, torch.nn.Linear(4, 5).double(), related

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        tokens = self.embed(inputs["values"])
        pooled = masked_mean(tokens, inputs["padding"])
        return Encoded(tokens if self.related else tokens.clone(), pooled, inputs["padding"])


def test_other_encoders_get_the_contribution_of_each_token_to_a_linear_score() -> None:
    encoder, inputs = Mean(), studies([6, 2])
    direction = torch.arange(5, dtype=torch.float64) - 1.5
    relevance = token_relevance(encoder, inputs, lambda pooled: pooled @ direction)
    for row, length in enumerate([6, 2]):
        tokens = encoder.embed(inputs["values"][row, :length]).detach()
        complete = tokens.mean(dim=0) @ direction
        for place in range(length):
            without = torch.cat([tokens[:place], tokens[place + 1 :]]).mean(dim=0) @ direction
            # Leaving a token out of the mean changes the score by its contribution times n / (n - 1).
            expected = float((complete - without) * (length - 1) / length)
            assert float(relevance[row, place]) == pytest.approx(max(0.0, expected), abs=1e-12)
    assert not relevance[1, 2:].any()


def test_a_study_whose_tokens_are_alike_has_no_relevance_and_no_nan() -> None:
    encoder, inputs = encoder_of(depth=2, heads=2), studies([4, 1])
    inputs["values"][0] = inputs["values"][0, :1]
    inputs["padding"][1] = True
    relevance = token_relevance(encoder, inputs, lambda pooled: pooled[:, 0])
    torch.testing.assert_close(relevance, torch.zeros_like(relevance), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "score", [lambda pooled: pooled.sum(), lambda pooled: pooled[:, :1], lambda pooled: pooled[:1, 0]]
)
def test_scores_must_be_one_per_study(score: Callable) -> None:
    with pytest.raises(ValueError, match="2 studies, expected one number for each; pass a `score`"):
        token_relevance(Mean(), studies([3, 3]), score)


def test_scores_that_do_not_follow_from_the_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="without a gradient to the tokens of Mean"):
        token_relevance(Mean(), studies([3, 3]), lambda pooled: torch.ones(2))
    with pytest.raises(ValueError, match=r"that from `Encoded\.tokens`"):
        token_relevance(Mean(related=False), studies([3, 3]), lambda pooled: pooled[:, 0])
    row = {
        "values": torch.rand(2, 3),
        "observed": torch.ones(2, 3, dtype=torch.bool),
        "levels": torch.zeros(2, 0).long(),
    }
    with pytest.raises(ValueError, match="MLPEncoder"):
        token_relevance(MLPEncoder(numeric=3), row, lambda pooled: pooled[:, 0])


def test_finds_the_token_on_which_a_trained_model_relies() -> None:
    encoder, score, inputs, places = planted_encoder()
    relevance = token_relevance(encoder, inputs, score)
    ill = places >= 0
    assert float((relevance[ill].argmax(dim=1) == places[ill]).float().mean()) >= 0.95
