"""The linear path: what each modality adds, and the average with a network."""

import torch
from torch import Tensor

from polyclinic.nn import FixedFeatures, LinearPath


class _Doubled(FixedFeatures):
    outputs = 2

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return 2 * inputs["vitals"]


def _path() -> LinearPath:
    path = LinearPath({"first": _Doubled(), "second": _Doubled()}, 3)
    generator = torch.Generator().manual_seed(0)
    for value in path.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator))
    return path


PRESENT = {"first": torch.tensor([True, True, False, False]), "second": torch.tensor([True, False, True, False])}
INPUTS = {"first": {"vitals": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, "second": {"vitals": torch.ones(2, 2)}}


def test_the_outputs_are_a_linear_model_to_which_a_missing_modality_adds_nothing() -> None:
    path = _path()
    outputs = path.outputs(path.contributions(INPUTS, PRESENT), PRESENT)
    first, second = path.maps["first"], path.maps["second"]
    of_first = 2 * INPUTS["first"]["vitals"] @ first.weight + first.offset
    of_second = 2 * INPUTS["second"]["vitals"] @ second.weight + second.offset
    expected = [of_first[0] + of_second[0], of_first[1], of_second[1], torch.zeros(3)]
    torch.testing.assert_close(outputs, torch.stack(expected) + path.bias)


def test_a_hidden_modality_adds_nothing_and_one_absent_from_the_batch_is_accepted() -> None:
    path = _path()
    hidden = {**PRESENT, "second": torch.zeros(4, dtype=torch.bool)}
    shown = path.outputs(path.contributions(INPUTS, PRESENT), hidden)
    absent = path.outputs(path.contributions({"first": INPUTS["first"]}, hidden), hidden)
    torch.testing.assert_close(shown, absent)
    torch.testing.assert_close(shown[2:], path.bias.expand(2, 3))


def test_the_share_moves_only_fitted_outputs_from_the_linear_model_to_the_network() -> None:
    path = _path()
    path.fitted.copy_(torch.tensor([True, False, True]))
    network, linear = torch.ones(1, 3), torch.full((1, 3), 5.0)
    for share, expected in ((1.0, [1.0, 1.0, 1.0]), (0.0, [5.0, 1.0, 5.0]), (0.25, [4.0, 1.0, 4.0])):
        path.share.fill_(share)
        torch.testing.assert_close(path.averaged(network, linear), torch.tensor([expected]))


def test_nothing_of_the_path_is_trained_by_a_gradient() -> None:
    path = _path()
    assert not list(path.parameters())
    inputs = {"first": {"vitals": INPUTS["first"]["vitals"].clone().requires_grad_()}}
    assert not path.contributions(inputs, PRESENT)["first"].requires_grad
