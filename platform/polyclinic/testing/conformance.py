"""What every modality plugin must do, as a pytest class that a plugin's own tests subclass.

from polyclinic.testing import ModalityConformance

class TestXRay(ModalityConformance):
    def modality(self):
        return XRay(size=64)
"""

import copy
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from polyclinic.modality import (
    Explainable,
    Imputable,
    Item,
    Located,
    Modality,
    OnPicture,
    OnRows,
    OnTraces,
    OnWords,
    Picture,
    Rows,
    Source,
    Traces,
    UnreadableSource,
    View,
    Viewable,
    Words,
    settings,
)
from polyclinic.modality.physiology import Patient
from polyclinic.nn import SIZES, MaskableEncoder, Reconstruction, hide_units

_STUDIES = 6
_DECODER = 32
_LOCATED: dict[type[View], type[Located]] = {Picture: OnPicture, Traces: OnTraces, Rows: OnRows, Words: OnWords}


class ModalityConformance(ABC):
    """The battery; a subclass says how to build the modality and may lend sample files of its own."""

    @abstractmethod
    def modality(self) -> Modality:
        """Build a fresh instance with small settings."""

    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Source]:
        """Readable sources; the phantom's unless a subclass gives its own."""
        return [_phantom(self.modality(), seed, tmp_path / f"study{seed}") for seed in range(_STUDIES)]

    @pytest.fixture
    def fitted(self, sources: list[Source]) -> Modality:
        """An instance fitted on the sources."""
        modality = self.modality()
        modality.fit(modality.read(source) for source in sources)
        return modality

    @pytest.fixture
    def items(self, fitted: Modality, sources: list[Source]) -> list[Item]:
        """The prepared sources."""
        return [fitted.prepare(fitted.read(source)) for source in sources]

    def test_phantom_is_the_same_for_the_same_seed(self, tmp_path: Path) -> None:
        first, second = (_phantom(self.modality(), 3, tmp_path / name) for name in ("one", "two"))
        reader = self.modality()
        assert first.suffix
        assert first.suffix == second.suffix
        _assert_same(reader.read(first), reader.read(second))

    def test_settings_are_kept_under_their_own_names(self) -> None:
        kept = settings(self.modality())
        assert json.dumps(kept, default=str) == json.dumps(settings(self.modality()), default=str)

    def test_items_are_tensors_without_batch_dimension(self, fitted: Modality, items: list[Item]) -> None:
        for item in items:
            assert item
            assert all(isinstance(value, torch.Tensor) for value in item.values())
            assert all(torch.isfinite(value).all() for value in item.values() if value.is_floating_point())
        batch = fitted.collate(items)
        assert all(len(value) == len(items) for value in batch.values())

    def test_prepare_is_deterministic_and_leaves_raw_alone(self, fitted: Modality, sources: list[Source]) -> None:
        raw = fitted.read(sources[0])
        before = copy.deepcopy(raw)
        _assert_same(fitted.prepare(raw), fitted.prepare(raw))
        _assert_same(raw, before)

    def test_augment_repeats_with_its_seed_and_copies(self, fitted: Modality, items: list[Item]) -> None:
        before = copy.deepcopy(items[0])
        once, again = (fitted.augment(items[0], np.random.default_rng(5)) for _ in range(2))
        _assert_same(once, again)
        _assert_same(items[0], before)
        fitted.collate([once, fitted.augment(items[1], np.random.default_rng(6))])

    def test_state_is_json_and_restores_the_same_items(
        self, fitted: Modality, sources: list[Source], items: list[Item]
    ) -> None:
        restored = self.modality()
        restored.load_state(json.loads(json.dumps(fitted.state())))
        _assert_same(restored.prepare(restored.read(sources[0])), items[0])

    def test_facts_are_numbers_or_strings(self, fitted: Modality, sources: list[Source]) -> None:
        facts = fitted.describe(fitted.read(sources[0]))
        assert all(isinstance(value, float | str) for value in facts.values())
        assert not any("study0" in value for value in facts.values() if isinstance(value, str))

    def test_encoder_does_not_depend_on_the_batch_around_a_study(self, fitted: Modality, items: list[Item]) -> None:
        encoder = fitted.default_encoder("nano").eval()
        together = encoder(fitted.collate(items))
        assert together.pooled.shape == (len(items), SIZES["nano"].width)
        assert together.tokens.shape[:2] == together.padding.shape
        assert encoder.width == SIZES["nano"].width
        for index, item in enumerate(items):
            alone = encoder(fitted.collate([item])).pooled[0]
            torch.testing.assert_close(together.pooled[index], alone, atol=1e-4, rtol=1e-4)

    def test_every_encoder_parameter_learns(self, fitted: Modality, items: list[Item]) -> None:
        encoder = fitted.default_encoder("nano")
        encoder(fitted.collate(items)).pooled.square().sum().backward()
        unused = [name for name, p in encoder.named_parameters() if p.grad is None]
        assert not unused, f"no gradient reached {unused}"

    def test_what_is_hidden_influences_nothing_that_is_visible(self, fitted: Modality, items: list[Item]) -> None:
        masked = _masked(fitted, items)
        if masked is None:
            return
        encoder, reconstruction, inputs, hidden = masked
        targets = reconstruction.targets(inputs, hidden)
        other = reconstruction.fill(inputs, hidden, torch.randn_like(targets) - targets.nan_to_num())
        seen = [encoder.encode(encoder.tokenize(one), hidden) for one in (inputs, other)]
        assert seen[0].tokens.shape[1] < encoder.tokenize(inputs).values.shape[1]
        there = ~seen[0].padding
        torch.testing.assert_close(seen[0].tokens[there], seen[1].tokens[there], rtol=1e-4, atol=1e-4)

    def test_true_predictions_restore_the_inputs_at_no_loss(self, fitted: Modality, items: list[Item]) -> None:
        masked = _masked(fitted, items)
        if masked is None:
            return
        _, reconstruction, inputs, hidden = masked
        targets = reconstruction.targets(inputs, hidden)
        assert len(targets) == int(hidden.sum()) > 0
        filled = reconstruction.fill(inputs, hidden, targets.nan_to_num())
        for key, value in inputs.items():
            torch.testing.assert_close(filled[key], value, rtol=1e-4, atol=1e-4)
        decoded = torch.randn(len(targets), _DECODER)
        predicted = reconstruction.predict(decoded, hidden.nonzero()[:, 1])
        assert predicted.shape == targets.shape
        loss = reconstruction.loss(predicted, targets)
        assert loss.shape == (len(targets),)
        assert torch.isfinite(loss).all()
        assert (loss >= 0).all()

    def test_the_best_constant_beats_other_constants(self, fitted: Modality, items: list[Item]) -> None:
        masked = _masked(fitted, items)
        if masked is None:
            return
        _, reconstruction, inputs, hidden = masked
        everything = reconstruction.units(inputs).expand_as(hidden) >= 0
        targets, places = reconstruction.targets(inputs, everything), everything.nonzero()[:, 1]
        sums, counts = (torch.zeros(hidden.shape[1], targets.shape[1]) for _ in range(2))
        sums.index_add_(0, places, targets.nan_to_num())
        counts.index_add_(0, places, (~targets.isnan()).float())
        best = reconstruction.constant(sums, counts)
        noise = torch.randn(best.shape, generator=torch.Generator().manual_seed(0))
        losses = [reconstruction.loss(guess[places], targets).mean() for guess in (best, best + noise)]
        assert losses[0] < losses[1]

    def test_predictions_of_an_absent_study_say_that_they_are_synthetic(
        self, fitted: Modality, items: list[Item], tmp_path: Path
    ) -> None:
        masked = _masked(fitted, items)
        if masked is None or not isinstance(fitted, Imputable):
            return
        encoder, reconstruction, inputs, hidden = masked
        fitted.draw({key: value[0] for key, value in reconstruction.hide(inputs, hidden).items()}, Figure().subplots())
        try:
            blank = reconstruction.blank(2)
        except ValueError:
            return
        everything = reconstruction.units(blank).expand(2, -1) >= 0
        assert encoder.tokenize(blank).values.shape[1] == everything.shape[1]
        decoded = torch.randn(int(everything.sum()), _DECODER)
        predicted = reconstruction.predict(decoded, everything.nonzero()[:, 1]).detach()
        filled = reconstruction.fill(blank, everything, predicted)
        fitted.draw({key: value[0] for key, value in filled.items()}, Figure().subplots())
        written = fitted.write_synthetic({key: value[0] for key, value in filled.items()}, tmp_path / "S1.synthetic")
        assert written.is_file()
        assert b"synthetic" in b"".join(path.read_bytes() for path in tmp_path.glob("S1*")).lower()

    def test_relevance_of_every_token_is_drawn_where_it_lies_and_relative_to_the_largest(
        self, fitted: Modality, items: list[Item]
    ) -> None:
        if not isinstance(fitted, Explainable):
            return
        inputs = fitted.collate(items)
        padding = fitted.default_encoder("nano").eval()(inputs).padding
        for index in (0, int(padding.sum(dim=1).argmax())):
            study = {key: value[index] for key, value in inputs.items()}
            before = copy.deepcopy(study)
            real = (~padding[index]).nonzero()[:, 0]
            nothing = torch.zeros(padding.shape[1])
            first, last = (nothing.index_fill(0, place, 0.2) for place in (real[:1], real[-1:]))
            pictures = [_relevance_picture(fitted, study, one) for one in (nothing, first, last, 7 * last)]
            assert not np.array_equal(pictures[0], pictures[1])
            assert not np.array_equal(pictures[1], pictures[2])
            np.testing.assert_array_equal(pictures[2], pictures[3])
            _assert_same(study, before)
            with pytest.raises(ValueError, match="negative or not finite"):
                fitted.draw_relevance(study, first - 1, Figure().subplots())

    def test_what_people_see_is_plain_json_and_the_same_every_time(
        self, fitted: Modality, sources: list[Source]
    ) -> None:
        if not isinstance(fitted, Viewable):
            return
        raw = fitted.read(sources[0])
        before = copy.deepcopy(raw)
        view = fitted.view(raw)
        assert type(view) in _LOCATED
        told = json.dumps(view.as_json(), allow_nan=False)
        assert told == json.dumps(fitted.view(raw).as_json(), allow_nan=False)
        assert "study0" not in told
        _assert_same(raw, before)
        unfitted = self.modality()
        assert isinstance(unfitted, Viewable)
        assert unfitted.view(raw).as_json()["kind"] == view.as_json()["kind"]

    def test_relevance_is_located_in_the_frame_of_what_people_see(
        self, fitted: Modality, sources: list[Source]
    ) -> None:
        if not isinstance(fitted, Viewable):
            return
        raw = fitted.read(sources[0])
        item, view = fitted.prepare(raw), fitted.view(raw)
        padding = fitted.default_encoder("nano").eval()(fitted.collate([item])).padding[0]
        real = (~padding).nonzero()[:, 0]
        nothing = torch.zeros(len(padding))
        first, last = (nothing.index_fill(0, place, 0.2) for place in (real[:1], real[-1:]))
        found = [fitted.locate(raw, item, one) for one in (nothing, first, last, 7 * last)]
        for located, most in zip(found, (0.0, 1.0, 1.0, 1.0), strict=True):
            assert type(located) is _LOCATED[type(view)]
            assert float(located.strength.max()) == most
            json.dumps(located.as_json(), allow_nan=False)
            _assert_fits(view, located.strength)
        assert not np.array_equal(found[1].strength, found[2].strength)
        np.testing.assert_allclose(found[2].strength, found[3].strength)
        with pytest.raises(ValueError, match="negative or not finite"):
            fitted.locate(raw, item, first - 1)

    def test_empty_file_is_unreadable_by_name_only(self, sources: list[Source], tmp_path: Path) -> None:
        if not isinstance(sources[0], Path):
            return
        empty = tmp_path / f"doe_john{sources[0].suffix}"
        empty.touch()
        with pytest.raises(UnreadableSource) as caught:
            self.modality().read(empty)
        assert "doe_john" not in str(caught.value)

    def test_missing_file_is_unreadable_by_name_only(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableSource) as caught:
            self.modality().read(tmp_path / "doe_john.xyz")
        assert "doe_john" not in str(caught.value)


def _masked(
    modality: Modality, items: list[Item]
) -> tuple[MaskableEncoder, Reconstruction, dict[str, torch.Tensor], torch.Tensor] | None:
    """The default encoder, what its tokens hide, inputs and a mask; None for one that cannot be masked and says so."""
    encoder = modality.default_encoder("nano").eval()
    if not isinstance(encoder, MaskableEncoder):
        return None
    try:
        reconstruction = encoder.reconstruction(_DECODER)
    except ValueError:
        return None
    inputs = modality.collate(items)
    units = reconstruction.units(inputs).expand(len(items), -1)
    assert units.max() < units.shape[1]
    assert not (units[encoder.tokenize(inputs).padding] >= 0).any()
    keep = (units >= 0).sum(dim=1) // 2
    noise = torch.rand(units.shape, generator=torch.Generator().manual_seed(0))
    return encoder, reconstruction, inputs, hide_units(units, keep, noise)


def _relevance_picture(modality: Explainable, study: Item, relevance: torch.Tensor) -> np.ndarray:
    figure = Figure(figsize=(5, 4), dpi=80)
    modality.draw_relevance(study, relevance, figure.subplots())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def _assert_fits(view: View, strength: np.ndarray) -> None:
    """One strength for each lead or for all of them, for each row, for each word."""
    if isinstance(view, Traces):
        assert strength.shape[0] in (1, len(view.names))
    elif isinstance(view, Rows | Words):
        assert len(strength) == len(view.entries if isinstance(view, Rows) else view.words)


def _phantom(modality: Modality, seed: int, path: Path) -> Path:
    patient = Patient(np.random.default_rng(seed))
    return modality.phantom(patient.visit(np.random.default_rng(seed)), np.random.default_rng(seed), path)


def _assert_same(one: Any, other: Any) -> None:
    """Equal to the bit, through containers and dataclasses."""
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_same(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            _assert_same(getattr(one, name), getattr(other, name))
    else:
        assert one == other
