"""The joint encoder: studies do not depend on their batch, and missing modalities cost nothing."""

import pytest
import torch

from polyclinic.nn import JointEncoder, Visible

WIDTHS = {"one": 8, "two": 12}


def _joint(**settings: object) -> JointEncoder:
    torch.manual_seed(0)
    arguments = {"widths": WIDTHS, "width": 16, "depth": 3, "heads": 2, "read": {"one": 1}, **settings}
    return JointEncoder(**arguments).eval()


def _visible(present: torch.Tensor, width: int, counts: list[int], seed: int) -> Visible:
    generator = torch.Generator().manual_seed(seed)
    rows, longest = int(present.sum()), max(counts)
    padding = torch.arange(longest)[None] >= torch.tensor(counts)[:, None]
    places = torch.stack([torch.randperm(20, generator=generator)[:longest].sort().values for _ in range(rows)])
    return Visible(torch.randn(rows, longest, width, generator=generator), places.masked_fill(padding, -1), padding)


def test_a_study_attends_only_to_its_tokens_whatever_the_batch() -> None:
    joint = _joint()
    present = {"one": torch.tensor([True, True, False, True]), "two": torch.tensor([True, False, True, True])}
    visible = {"one": _visible(present["one"], 8, [3, 5, 2], 1), "two": _visible(present["two"], 12, [4, 1, 2], 2)}
    mixed = joint(visible, present, list(WIDTHS))
    assert mixed["one"].tokens.shape == (4, 7, 16)
    for study in range(4):
        row = {name: rows[study][None] for name, rows in present.items()}
        parts = {
            name: Visible(*(value[present[name][:study].sum()][None] for value in tokens))
            for name, tokens in visible.items()
            if present[name][study]
        }
        alone = joint(parts, row, list(WIDTHS))
        for name in WIDTHS:
            real = ~mixed[name].padding[study]
            length = int(real.sum())
            assert length == sum(int((~part.padding).sum()) for part in parts.values())
            torch.testing.assert_close(
                mixed[name].tokens[study][real], alone[name].tokens[0][:length], rtol=1e-4, atol=1e-5
            )


def test_each_modality_is_read_at_its_depth() -> None:
    joint = _joint()
    present = {name: torch.ones(2, dtype=torch.bool) for name in WIDTHS}
    visible = {"one": _visible(present["one"], 8, [3, 3], 1), "two": _visible(present["two"], 12, [2, 2], 2)}
    before = joint(visible, present, list(WIDTHS))
    with torch.no_grad():
        joint.blocks[1].mlp[2].bias += 1.0
    after = joint(visible, present, list(WIDTHS))
    torch.testing.assert_close(before["one"].tokens, after["one"].tokens)
    assert not torch.allclose(before["two"].tokens, after["two"].tokens)


def test_parameters_reported_as_unused_by_a_batch_are_those_without_a_gradient() -> None:
    joint = _joint()
    present = {"one": torch.ones(2, dtype=torch.bool)}
    joint({"one": _visible(present["one"], 8, [3, 3], 1)}, present, ["one"])["one"].tokens.square().sum().backward()
    idle = {id(p) for module in joint.idle(["one"]) for p in module.parameters()}
    assert idle == {id(p) for p in joint.parameters() if p.grad is None}
    assert len(idle) > 10


@pytest.mark.parametrize("read", [{"one": 0}, {"one": 4}, {"three": 1}])
def test_depths_outside_the_trunk_are_refused(read: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"set `model\.read_depths`"):
        _joint(read=read)
