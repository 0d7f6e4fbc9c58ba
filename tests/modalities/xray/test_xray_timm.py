import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from polyclinic_xray.timm_encoder import TimmEncoder

SIZE = 64


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def build(name: str, weights: Path | None = None) -> TimmEncoder:
    return TimmEncoder(name=name, weights=weights, size=SIZE if "resnet" not in name else None).eval()


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("resnet10t", 2 * 2), ("vit_tiny_patch16_224", 4 * 4 + 1), ("swin_tiny_patch4_window7_224", 2 * 2)],
)
def test_outputs_do_not_depend_on_the_rest_of_the_batch(name: str, tokens: int) -> None:
    torch.manual_seed(0)
    encoder, images = build(name), torch.randn(3, 1, SIZE, SIZE)
    with torch.no_grad():
        together = encoder({"image": images})
        alone = encoder({"image": images[1:2]})
    assert together.tokens.shape == (3, tokens, encoder.width)
    assert together.pooled.shape == (3, encoder.width)
    assert not together.padding.any()
    torch.testing.assert_close(together.pooled[1:2], alone.pooled, atol=1e-5, rtol=1e-4)
    if name != "vit_tiny_patch16_224":  # these pool by averaging their tokens
        torch.testing.assert_close(together.tokens.mean(dim=1), together.pooled, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_weights_load_from_safetensors(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, images = build(name), torch.randn(2, 1, SIZE, SIZE)
    file = tmp_path / "weights.safetensors"
    save_file(first.backbone.state_dict(), file)
    torch.manual_seed(1)
    second, random = build(name, file), build(name)
    with torch.no_grad():
        outputs = [encoder({"image": images}).pooled for encoder in (first, second, random)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert not torch.allclose(outputs[0], outputs[2])


def test_colour_weights_are_summed_over_colours(tmp_path: Path) -> None:
    colour = timm.create_model("resnet10t", in_chans=3, num_classes=7)
    file = tmp_path / "colour.safetensors"
    save_file(colour.state_dict(), file)
    loaded = build("resnet10t", file).backbone.state_dict()
    first = "conv1.0.weight"
    torch.testing.assert_close(loaded[first], load_file(file)[first].sum(dim=1, keepdim=True))


def test_wrong_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set `name`"):
        TimmEncoder(name="resnet_of_nowhere")
    with pytest.raises(ValueError, match="not a file"):
        TimmEncoder(name="resnet10t", weights=tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="tokens of width"):
        TimmEncoder(name="mobilenetv3_small_050")
    partial = tmp_path / "partial.safetensors"
    save_file({"conv1.0.weight": torch.zeros(24, 3, 3, 3)}, partial)
    with pytest.raises(ValueError, match=r"without \d+ of the parameters"):
        build("resnet10t", partial)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x80\x04no weights")
    with pytest.raises(ValueError, match="cannot be loaded"):
        build("resnet10t", broken)


def test_every_weight_of_a_file_is_accounted_for(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("resnet10t", in_chans=1, num_classes=7).state_dict(), file)
    encoder = build("resnet10t", file)
    account = encoder.account
    assert account is not None
    assert account.source == "weights.safetensors"
    assert set(account.loaded) == set(encoder.backbone.state_dict())
    assert account.new == ()
    assert set(account.dropped) == {"fc.weight", "fc.bias"}
    assert build("resnet10t").account is None
