"""The conformance tests of modality plugins: a pytest class that the tests of a plugin subclass.

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
from scipy import sparse

from polyclinic.modality import (
    Courses,
    Deidentifiable,
    Explainable,
    HasBaseline,
    HasFixedFeatures,
    HasResults,
    Imputable,
    Indexed,
    Inspectable,
    Item,
    Located,
    Modality,
    OnCourses,
    OnPicture,
    OnRows,
    OnTraces,
    OnWords,
    Picture,
    Redactable,
    Rows,
    Scannable,
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
_LOCATED: dict[type[View], type[Located]] = {
    Picture: OnPicture, Traces: OnTraces, Rows: OnRows, Courses: OnCourses, Words: OnWords,
}  # fmt: skip


class ModalityConformance(ABC):
    """Test a plugin against the contract; a subclass builds the modality and may override ``sources``.

    A test that does not apply to the plugin is skipped with its reason.
    """

    @abstractmethod
    def modality(self) -> Modality:
        """Build a fresh instance with small settings."""

    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Source]:
        """Provide readable sources: phantoms, unless a subclass overrides this fixture."""
        return [_phantom(self.modality(), seed, tmp_path / f"study{seed}") for seed in range(_STUDIES)]

    @pytest.fixture
    def fitted(self, sources: list[Source]) -> Modality:
        """Fit a modality on the sources."""
        modality = self.modality()
        modality.fit(modality.read(source) for source in sources)
        return modality

    @pytest.fixture
    def items(self, fitted: Modality, sources: list[Source]) -> list[Item]:
        """Prepare the sources."""
        return [fitted.prepare(fitted.read(source)) for source in sources]

    def test_phantom_is_the_same_for_the_same_seed(self, tmp_path: Path) -> None:
        first, second = (_phantom(self.modality(), 3, tmp_path / name) for name in ("one", "two"))
        reader = self.modality()
        assert first.suffix
        assert first.suffix == second.suffix
        _assert_same(reader.read(first), reader.read(second))

    def test_settings_are_kept_under_their_own_names(self) -> None:
        first, second = (settings(self.modality()) for _ in range(2))
        assert json.dumps(first, default=str) == json.dumps(second, default=str)

    def test_each_capability_is_defined_completely_or_not_at_all(self) -> None:
        modality = self.modality()
        for capability in (
            Imputable,
            Explainable,
            Viewable,
            HasBaseline,
            HasFixedFeatures,
            Inspectable,
            Scannable,
            HasResults,
            Indexed,
            Deidentifiable,
            Redactable,
        ):
            methods = {name for name in vars(capability) if not name.startswith("_")}
            defined = {name for name in methods if hasattr(modality, name) and not hasattr(Modality, name)}
            only_shared = capability is Redactable and "redact" not in defined
            assert not defined or only_shared or isinstance(modality, capability), (
                f"{type(modality).__name__} has {sorted(defined)}, but {capability.__name__} needs {sorted(methods)}"
            )

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
        encoder, reconstruction, inputs, hidden = _masked(fitted, items)
        targets = reconstruction.targets(inputs, hidden)
        other = reconstruction.fill(inputs, hidden, torch.randn_like(targets) - targets.nan_to_num())
        encoded, changed = (encoder.encode(encoder.tokenize(batch), hidden) for batch in (inputs, other))
        assert encoded.tokens.shape[1] < encoder.tokenize(inputs).values.shape[1]
        real = ~encoded.padding
        torch.testing.assert_close(encoded.tokens[real], changed.tokens[real], rtol=1e-4, atol=1e-4)

    def test_true_predictions_restore_the_inputs_at_no_loss(self, fitted: Modality, items: list[Item]) -> None:
        _, reconstruction, inputs, hidden = _masked(fitted, items)
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
        _, reconstruction, inputs, hidden = _masked(fitted, items)
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
        if not isinstance(fitted, Imputable):
            pytest.skip(f"{type(fitted).__name__} is not Imputable")
        encoder, reconstruction, inputs, hidden = _masked(fitted, items)
        fitted.draw({key: value[0] for key, value in reconstruction.hide(inputs, hidden).items()}, Figure().subplots())
        try:
            blank = reconstruction.blank(2)
        except ValueError as error:
            pytest.skip(f"an absent study of {type(fitted).__name__} cannot be imputed: {error}")
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
            pytest.skip(f"{type(fitted).__name__} is not Explainable")
        inputs = fitted.collate(items)
        padding = fitted.default_encoder("nano").eval()(inputs).padding
        for index in (0, int(padding.sum(dim=1).argmax())):
            study = {key: value[index] for key, value in inputs.items()}
            before = copy.deepcopy(study)
            real = (~padding[index]).nonzero()[:, 0]
            nothing = torch.zeros(padding.shape[1])
            first, last = (nothing.index_fill(0, place, 0.2) for place in (real[:1], real[-1:]))
            pictures = [_relevance_picture(fitted, study, values) for values in (nothing, first, last, 7 * last)]
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
            pytest.skip(f"{type(fitted).__name__} is not Viewable")
        raw = fitted.read(sources[0])
        before = copy.deepcopy(raw)
        view = fitted.view(raw)
        assert type(view) in _LOCATED
        payload = json.dumps(view.as_json(), allow_nan=False)
        assert payload == json.dumps(fitted.view(raw).as_json(), allow_nan=False)
        assert "study0" not in payload
        _assert_same(raw, before)
        unfitted = self.modality()
        assert isinstance(unfitted, Viewable)
        assert unfitted.view(raw).as_json()["kind"] == view.as_json()["kind"]

    def test_relevance_is_located_in_the_frame_of_what_people_see(
        self, fitted: Modality, sources: list[Source]
    ) -> None:
        if not isinstance(fitted, Viewable):
            pytest.skip(f"{type(fitted).__name__} is not Viewable")
        raw = fitted.read(sources[0])
        item, view = fitted.prepare(raw), fitted.view(raw)
        padding = fitted.default_encoder("nano").eval()(fitted.collate([item])).padding[0]
        real = (~padding).nonzero()[:, 0]
        nothing = torch.zeros(len(padding))
        first, last = (nothing.index_fill(0, place, 0.2) for place in (real[:1], real[-1:]))
        found = [fitted.locate(raw, item, values) for values in (nothing, first, last, 7 * last)]
        for located, largest in zip(found, (0.0, 1.0, 1.0, 1.0), strict=True):
            assert type(located) is _LOCATED[type(view)]
            assert float(_strength(located).max()) == largest
            json.dumps(located.as_json(), allow_nan=False)
            _assert_fits(view, located)
        assert not np.array_equal(_strength(found[1]), _strength(found[2]))
        np.testing.assert_allclose(_strength(found[2]), _strength(found[3]))
        with pytest.raises(ValueError, match="negative or not finite"):
            fitted.locate(raw, item, first - 1)

    def test_baseline_features_depend_on_the_study_alone(self, fitted: Modality, sources: list[Source]) -> None:
        if not isinstance(fitted, HasBaseline):
            pytest.skip(f"{type(fitted).__name__} is not HasBaseline")
        raws, baseline = [fitted.read(source) for source in sources], fitted.baseline()
        transform = baseline.learn(raws)
        features = _dense(transform(raws))
        assert features.shape[0] == len(raws)
        assert np.isfinite(features).all() or (baseline.trees and not np.isinf(features).any())
        np.testing.assert_allclose(_dense(transform(raws[-1:])), features[-1:], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(_dense(baseline.learn(raws)(raws)), features)
        assert len(np.unique(features, axis=0)) > 1

    def test_fixed_features_depend_on_the_study_alone(self, fitted: Modality, items: list[Item]) -> None:
        if not isinstance(fitted, HasFixedFeatures):
            pytest.skip(f"{type(fitted).__name__} is not HasFixedFeatures")
        batch = fitted.collate(items)
        features, again = fitted.fixed_features(), fitted.fixed_features()
        for built in (features, again):
            built.fit([batch])
        values = features(batch)
        assert values.shape == (len(items), features.outputs)
        assert torch.isfinite(values).all()
        assert len(torch.unique(values, dim=0)) > 1
        assert not list(features.parameters())
        torch.testing.assert_close(features(fitted.collate(items[-1:])), values[-1:])
        torch.testing.assert_close(again(batch), values, rtol=0, atol=0)
        again.load_state_dict(features.state_dict())  # whatever was learned is in the buffers
        double = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
        assert features.double()(double).dtype == torch.float64

    def test_empty_file_is_unreadable_by_name_only(self, sources: list[Source], tmp_path: Path) -> None:
        if not isinstance(sources[0], Path):
            pytest.skip("the sources are not files")
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
) -> tuple[MaskableEncoder, Reconstruction, dict[str, torch.Tensor], torch.Tensor]:
    """Return the default encoder, its reconstruction, inputs and a mask of half of the units.

    Skips the test where the encoder cannot be masked, or refuses to.
    """
    encoder = modality.default_encoder("nano").eval()
    if not isinstance(encoder, MaskableEncoder):
        pytest.skip(f"{type(encoder).__name__} is not a MaskableEncoder")
    try:
        reconstruction = encoder.reconstruction(_DECODER)
    except ValueError as error:
        pytest.skip(f"{type(encoder).__name__} cannot be masked: {error}")
    inputs = modality.collate(items)
    units = reconstruction.units(inputs).expand(len(items), -1)
    assert units.max() < units.shape[1]
    assert not (units[encoder.tokenize(inputs).padding] >= 0).any()
    keep = (units >= 0).sum(dim=1) // 2
    noise = torch.rand(units.shape, generator=torch.Generator().manual_seed(0))
    return encoder, reconstruction, inputs, hide_units(units, keep, noise)


def _dense(features: Any) -> np.ndarray:
    return np.asarray(features.todense() if sparse.issparse(features) else features)


def _relevance_picture(modality: Explainable, study: Item, relevance: torch.Tensor) -> np.ndarray:
    figure = Figure(figsize=(5, 4), dpi=80)
    modality.draw_relevance(study, relevance, figure.subplots())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def _strength(located: Located) -> np.ndarray:
    return np.concatenate(located.strength) if isinstance(located, OnCourses) else located.strength


def _assert_fits(view: View, located: Located) -> None:
    """Assert the number of strengths: one for each lead or one for all, one for each row, event or word."""
    strength = located.strength
    if isinstance(view, Traces):
        assert len(strength) in (1, len(view.names))
    elif isinstance(view, Courses):
        assert [len(events) for events in strength] == [len(series.hours) for series in view.series]
    elif isinstance(view, Rows | Words):
        assert len(strength) == len(view.entries if isinstance(view, Rows) else view.words)


def _phantom(modality: Modality, seed: int, path: Path) -> Path:
    patient = Patient(np.random.default_rng(seed))
    return modality.phantom(patient.visit(np.random.default_rng(seed)), np.random.default_rng(seed), path)


def _assert_same(actual: Any, expected: Any) -> None:
    """Assert that two values are equal bit for bit, through containers and dataclasses."""
    if isinstance(actual, torch.Tensor):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)
    elif isinstance(actual, np.ndarray):
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            _assert_same(actual[key], expected[key])
    elif hasattr(actual, "__dataclass_fields__"):
        for name in actual.__dataclass_fields__:
            _assert_same(getattr(actual, name), getattr(expected, name))
    else:
        assert actual == expected
