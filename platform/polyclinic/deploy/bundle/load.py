"""Load a bundle: plugins and encoders from the closed class table, then weights checked one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from polyclinic.deploy.bundle.files import CONTENT, WEIGHTS, check_files, unpack
from polyclinic.deploy.bundle.format import Architecture, BundleContent, Prompts, read_content
from polyclinic.deploy.bundle.head import Head, Label
from polyclinic.modality import ENTRY_POINTS, Item, Modality
from polyclinic.models.build import Builder, check_plain, first_line, largest_model
from polyclinic.models.class_table import ClassTable, load_plugin, modality_points, shown
from polyclinic.models.ensemble import SupervisedEnsemble, joined_parts, member_parts
from polyclinic.models.supervised import SupervisedModel
from polyclinic.models.towers import build_encoders, build_heads, build_linear_path
from polyclinic.models.zero_shot import ZeroShotModel, in_precision
from polyclinic.nn import Adapter, Encoder, Fusion, StudyNorm
from polyclinic.nn.targets import Targets
from polyclinic.objectives import Objective
from polyclinic.prompts import PromptFile

Part = TypeVar("Part")
Model: TypeAlias = ZeroShotModel | SupervisedModel | SupervisedEnsemble
_MAX_STATE_VALUES, _MAX_STATE_CHARACTERS = 5_000_000, 64_000_000
"""Limits of the state of a plugin, which may be the vocabulary of a language model."""


def build(kind: type[Part], spec: Mapping[str, Any], where: str, **given: Any) -> Part:
    """Build an object from its class and settings.

    Args:
        kind: required base class.
        spec: ``class_path`` and ``init_args``, which may be nested.
        where: location in the bundle, for messages.
        **given: arguments of the class that the bundle cannot set.

    Raises:
        ValueError: the class is not in the class table or not of the kind, or does not accept the settings.
    """
    plan = Builder(table=ClassTable(), files=False).plan(spec, kind, where, given=given.keys())
    made: Part = plan.make(**given)
    return made


def build_modality(name: str, spec: Mapping[str, Any]) -> Modality:
    """Build a plugin, with its settings and learned state.

    Raises:
        ValueError: the plugin is not installed, or does not accept its settings or state.
    """
    installed = {point.name: point for point in modality_points()}
    where = f"modalities.{name}"
    if not isinstance(spec["plugin"], str) or spec["plugin"] not in installed:
        raise ValueError(
            f"the bundle needs plugin {shown(spec['plugin'])} for modality {name!r}, installed are "
            f"{sorted(installed)}; install its distribution"
        )
    check_plain(spec["state"], f"{where}.state", most=_MAX_STATE_VALUES, longest=_MAX_STATE_CHARACTERS)
    plugin = load_plugin(installed[spec["plugin"]])
    made: Modality = Builder(table=ClassTable(), files=False).plan_settings(plugin, spec["settings"], where).make()
    try:
        made.load_state(spec["state"])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in a compiled library is not an Exception
        raise ValueError(
            f"{where} cannot be built here: its state does not fit ({first_line(error)}); use the version that wrote it"
        ) from None
    return made


def plugin_of(modality: Modality) -> str:
    """Return the name under which a plugin is installed.

    Raises:
        ValueError: no installed distribution registers the plugin.
    """
    for point in modality_points():
        if load_plugin(point) is type(modality):
            return point.name
    raise ValueError(
        f"got plugin {type(modality).__name__}, which no installed distribution registers; add the entry point "
        f"{ENTRY_POINTS!r} so that a bundle can name it"
    )


_STORED_DTYPES = (torch.float64, torch.float32, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)
_PARTS = ("encoders.", "heads.", "objective.", "fusion.", "targets.", "linear_path.", "members.")
_SCALING = ("targets.center", "targets.scale", "members.0.targets.center", "members.0.targets.scale")
"""Weights of a head, or of the first member of an ensemble, that ``bundle.json`` states, too."""

TEXTS, DRAWS, MEAN, WHITENING = "prompts.embeddings", "calibration.draws", "familiar.{}.mean", "familiar.{}.whitening"


@dataclass(frozen=True, kw_only=True)
class OODReference:
    """Distribution of the pooled vectors of one modality in the training split.

    Attributes:
        mean: mean of the vectors.
        whitening: square root of their inverse covariance; whitened vectors have unit variance.
        limit: distance that one in a hundred validation studies exceeds.
    """

    mean: Float[Tensor, " D"]
    whitening: Float[Tensor, "D D"]
    limit: float

    def distance(self, pooled: Float[Tensor, "b D"]) -> Float[Tensor, " b"]:
        """Return the Mahalanobis distance to the mean (Lee et al. 2018, section 2.1, one class) over the root of D."""
        return ((pooled - self.mean) @ self.whitening).square().mean(dim=1).sqrt()


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle, ready to score.

    Attributes:
        digest: SHA-256 that identifies the bundle.
        content: content of ``bundle.json``.
        modalities: plugins with their learned state, by name.
        further: plugins of the members of an ensemble after the first; none without an ensemble.
        model: model in evaluation mode.
        texts: embeddings of the prompts; without rows for a trained head.
        draws: slope and intercept per subset (in the order of ``content.rules``), finding and resample of the
            validation patients; NaN without a fit.
        familiar: OOD reference by input modality.
    """

    digest: str
    content: BundleContent
    modalities: dict[str, Modality]
    further: Sequence[dict[str, Modality]] = ()
    model: Model
    texts: Float[Tensor, "T d"]
    draws: Float[np.ndarray, "S F R 2"]
    familiar: dict[str, OODReference]

    @property
    def query(self) -> list[str]:
        """Input modalities, in order."""
        return self.content.query

    @property
    def findings(self) -> list[str]:
        """Names of the findings, in order."""
        return self.content.findings

    @property
    def estimated(self) -> list[Label]:
        """The levels and quantities that a trained head estimates, in order; none for prompts."""
        return [] if self.content.head is None else self.content.head.estimated

    def prepare(self, name: str, raw: Any) -> Item:
        """Turn a decoded source into what the model reads, for every member of an ensemble."""
        return joined_parts([plugins[name].prepare(raw) for plugins in (self.modalities, *self.further)])

    def collate(self, name: str, items: Sequence[Item]) -> dict[str, Tensor]:
        """Join the prepared items of studies that have a modality into one batch."""
        plugins = [every[name] for every in (self.modalities, *self.further)]
        parts = zip(*(member_parts(item, len(plugins)) for item in items), strict=True)
        return joined_parts([plugin.collate(part) for plugin, part in zip(plugins, parts, strict=True)])

    @torch.no_grad()
    def with_prompts(self, prompts: PromptFile) -> "Bundle":
        """Return this bundle with other findings, which have neither calibration nor measured performance.

        Raises:
            ValueError: the bundle is of a trained head or has no text encoder, or the prompts are for another modality.
        """
        if self.content.prompts is None:
            raise ValueError(
                f"got prompts for a trained head, whose findings are {shown(self.findings)}; leave out `--prompts`"
            )
        name = self.content.prompts.modality
        if name not in self.modalities:
            raise ValueError(
                "the bundle holds no text encoder, so that no prompts can be added; export it with --text_encoder true"
            )
        if prompts.modality != name:
            raise ValueError(f"got prompts for modality {prompts.modality!r}, expected {name!r}; set `modality`")
        plugin = self.modalities[name]
        inputs = plugin.collate([plugin.prepare(plugin.read(text)) for text in prompts.texts()])
        _, texts = self.model(name, in_precision(inputs, self.texts.dtype))
        content = replace(self.content, prompts=Prompts.of(prompts), rules={}, performance={})
        return replace(self, content=content, texts=texts, draws=np.zeros((0, 0, 0, 2)))


def load_bundle(folder: str | Path, *, dtype: torch.dtype = torch.float64) -> Bundle:
    """Check and load a bundle.

    Args:
        folder: folder written by ``polyclinic bundle export``.
        dtype: precision of the computation. In float64, the scores of a study do not depend on its batch.

    Raises:
        ValueError: a file is missing, altered or not of this format, or a plugin is not installed.
    """
    folder = Path(folder)
    digest = check_files(folder)
    content = read_content((folder / CONTENT).read_bytes())
    tensors = _read_tensors(folder / WEIGHTS)
    modalities, *further = _plugins(content.architecture)
    model = _sized_model(content, [modalities, *further], sum(value.numel() for value in tensors.values()))
    extra = {key: tensors.pop(key) for key in list(tensors) if not key.startswith(_PARTS)}
    _load_strictly(model, tensors)
    _check_extra(extra, content, model)
    familiar = {name: _ood_reference(extra, name, content, dtype) for name in content.query}
    return Bundle(
        digest=digest,
        content=content,
        modalities=modalities,
        further=further,
        model=model.to(dtype).eval().requires_grad_(requires_grad=False),
        texts=_required(extra, TEXTS).to(dtype) if content.prompts is not None else torch.zeros(0, 0, dtype=dtype),
        draws=_required(extra, DRAWS).double().numpy(),
        familiar=familiar,
    )


def _plugins(architecture: Architecture) -> list[dict[str, Modality]]:
    """Return the plugins of the model, or of each member of an ensemble."""
    specs = [architecture.modalities]
    specs += [
        {name: {**spec, "state": member.states[name]} for name, spec in architecture.modalities.items()}
        for member in architecture.members
    ]
    return [{name: build_modality(name, spec) for name, spec in every.items()} for every in specs]


def build_model(content: BundleContent, plugins: Sequence[dict[str, Modality]]) -> Model:
    """Build the model that a bundle describes, with random weights.

    Args:
        content: content of ``bundle.json``.
        plugins: plugins of the model, or of each member of an ensemble.

    Raises:
        ValueError: a class is not installed, or does not accept its settings.
    """
    architecture = content.architecture
    if content.head is not None:
        members = [_supervised(content.head, architecture, every) for every in plugins]
        return SupervisedEnsemble(members) if architecture.members else members[0]
    encoders = _encoders(architecture, plugins[0])
    assert architecture.objective is not None
    objective = build(Objective, architecture.objective, "objective")  # type: ignore[type-abstract]
    heads = build_heads(
        encoders, embedding=architecture.embedding, hidden=architecture.hidden, neutral=objective.neutral
    )
    return ZeroShotModel(encoders=encoders, heads=heads, objective=objective)


def _encoders(architecture: Architecture, modalities: dict[str, Modality]) -> dict[str, Encoder]:
    given = {name: build(Encoder, spec, f"encoders.{name}") for name, spec in architecture.encoders.items()}  # type: ignore[type-abstract]
    return build_encoders(modalities, size=architecture.size, given=given)


def _supervised(head: Head, architecture: Architecture, modalities: dict[str, Modality]) -> SupervisedModel:
    assert architecture.fusion is not None
    encoders = _encoders(architecture, modalities)
    if architecture.adapter is not None:
        adapter = build(Adapter, architecture.adapter, "adapter")  # type: ignore[type-abstract]
        for encoder in encoders.values():
            adapter.adapt(encoder)
    targets, heads = Targets(head.targets), {name: StudyNorm(encoder.width) for name, encoder in encoders.items()}
    widths = {name: norm.outputs for name, norm in heads.items()}
    fusion = build(Fusion, architecture.fusion, "fusion", widths=widths, outputs=targets.outputs)  # type: ignore[type-abstract]
    linear_path = build_linear_path(modalities, targets.outputs) if architecture.linear else None
    return SupervisedModel(
        encoders=encoders, heads=heads, fusion=fusion, targets=targets, linear_path=linear_path
    )  # fmt: skip


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the unpacked tensors of a bundle.

    Raises:
        ValueError: the file cannot be read, or a tensor is not finite or of an unexpected type.
    """
    try:
        tensors = unpack(load_file(path))
    except Exception as error:
        raise ValueError(f"{WEIGHTS} cannot be read ({first_line(error)}); fetch the bundle again") from None
    for name, value in tensors.items():
        if value.dtype not in _STORED_DTYPES:
            raise ValueError(f"{WEIGHTS} has {shown(name)} of type {value.dtype}, expected numbers; export it again")
        allowed = torch.isnan(value) if name == DRAWS else torch.zeros((), dtype=torch.bool)
        # Checked in float32, in which values of float64 may overflow.
        if not bool((torch.isfinite(value.float()) | allowed).all()):
            raise ValueError(f"{WEIGHTS} has values in {shown(name)} that are not finite; export the bundle again")
    return tensors


def _check_extra(extra: Mapping[str, Tensor], content: BundleContent, model: Model) -> None:
    """Check the shapes of the tensors that are not weights of the model.

    Raises:
        ValueError: a tensor is missing, unknown or of an unexpected shape.
    """
    expected: dict[str, tuple[int | None, ...]] = {
        DRAWS: (len(content.rules), len(content.findings), None if content.findings else 0, 2)
    }
    if content.prompts is not None:
        sentences = sum(len(message[side]) for message in content.prompts.findings.values() for side in message)
        expected[TEXTS] = (sentences * len(content.prompts.templates), model.widths[content.query[0]])
    for name in content.query:
        width = model.encoder(name).width
        expected |= {MEAN.format(name): (width,), WHITENING.format(name): (width, width)}
    for key, shape in expected.items():
        found = tuple(_required(extra, key).shape)
        if len(found) != len(shape) or any(
            expected_size not in (None, size) for expected_size, size in zip(shape, found, strict=True)
        ):
            raise ValueError(f"{WEIGHTS} has {key!r} of shape {list(found)}, expected {list(shape)}; export it again")
    if unknown := sorted(set(extra) - set(expected)):
        raise ValueError(f"{WEIGHTS} has {shown(unknown[0])}, which does not belong in a bundle; export it again")


def _sized_model(content: BundleContent, plugins: Sequence[dict[str, Modality]], values: int) -> Model:
    """Build the model of a bundle, within the size of its stored weights.

    Raises:
        ValueError: see ``build_model``; or the model is far larger than the stored weights, or cannot be built.
    """
    try:
        with largest_model(values):
            return build_model(content, plugins)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"{CONTENT}: its settings do not give a model ({type(error).__name__}: {first_line(error)}); export it "
            "again"
        ) from None


def _load_strictly(model: Model, tensors: dict[str, Tensor]) -> None:
    expected = {key: value.shape for key, value in model.state_dict().items()}
    wrong = sorted(
        key for key in {*expected, *tensors} if key not in tensors or tensors[key].shape != expected.get(key)
    )
    if wrong:
        raise ValueError(
            f"{WEIGHTS} does not fit the architecture of the bundle: {len(wrong)} weights differ (first "
            f"{shown(wrong[0])}); export it again"
        )
    described = {key: value.clone() for key, value in model.state_dict().items() if key in _SCALING}
    if different := [key for key, value in described.items() if not torch.equal(value, tensors[key].to(value.dtype))]:
        raise ValueError(f"{WEIGHTS} has another {shown(different[0])} than {CONTENT}; export it again")
    model.load_state_dict(tensors, strict=True)


def _ood_reference(extra: dict[str, Tensor], name: str, content: BundleContent, dtype: torch.dtype) -> OODReference:
    mean, whitening = (_required(extra, key.format(name)).to(dtype) for key in (MEAN, WHITENING))
    return OODReference(mean=mean, whitening=whitening, limit=content.limits[name])


def _required(extra: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in extra:
        raise ValueError(f"{WEIGHTS} lacks {key!r}; export the bundle again")
    return extra[key]
