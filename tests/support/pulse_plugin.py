"""A sixth modality, as a third party would write it: a heart rate and a temperature in a text file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyclinic.modality import Item, Modality, Physiology, Source, UnreadableSource
from polyclinic.nn import Encoder, Tokenizer, Tokens, Transformer, TransformerEncoder


class PulseTokenizer(Tokenizer):
    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(2, width)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        values = self.embed(inputs["vitals"])[:, None]
        return Tokens(values, torch.zeros_like(values), torch.zeros(values.shape[:2], dtype=torch.bool))


class Pulse(Modality):
    """Reads ``72 37.1`` from a file or inline text."""

    def __init__(self, *, noise: float = 0.1) -> None:
        self.noise = noise
        self._mean = [0.0, 0.0]

    def read(self, source: Source) -> tuple[float, ...]:
        try:
            text = source.read_text() if isinstance(source, Path) else str(source)
            rate, temperature = (float(word) for word in text.split())
        except (OSError, ValueError) as error:
            raise UnreadableSource(f"expected two numbers ({type(error).__name__})") from None
        return rate, temperature

    def describe(self, raw: tuple[float, ...]) -> Mapping[str, float | str]:
        return {"rate": raw[0], "kind": "vitals"}

    def fit(self, raws: Iterable[tuple[float, ...]]) -> None:
        self._mean = np.mean(list(raws), axis=0).tolist()

    def state(self) -> dict[str, Any]:
        return {"mean": self._mean}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._mean = list(state["mean"])

    def prepare(self, raw: tuple[float, ...]) -> Item:
        centred = torch.tensor(raw) - torch.tensor(self._mean)
        return {"vitals": centred / torch.tensor([10.0, 1.0])}

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        noise = rng.normal(0, self.noise, size=2).astype(np.float32)
        return {"vitals": item["vitals"] + torch.from_numpy(noise)}

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        file = path.with_suffix(".txt")
        file.write_text(f"{physiology.heart_rate + rng.normal():.1f} {37 + rng.normal(0, 0.3):.2f}\n")
        return file

    def default_encoder(self, size: str) -> Encoder:
        trunk = Transformer.of_size(size)
        return TransformerEncoder(tokenizer=PulseTokenizer(width=trunk.width), trunk=trunk)
