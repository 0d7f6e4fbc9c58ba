"""The embeddings of a batch, with the masks of present modalities and the groups of studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyclinic.distributed import rows_with_gradient, rows_without_gradient, world_size

Embeddings = Mapping[str, Float[Tensor, "N d"]]
Present = Mapping[str, Bool[Tensor, " N"]]
Groups = Int[Tensor, " N"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingBatch:
    """The embeddings of ``N`` studies, of one rank or of all.

    Attributes:
        embeddings: ``N`` unnormalised vectors per modality, in single precision or better.
        present: mask per modality, True for the studies that have it; the other rows are arbitrary but finite.
        groups: group number of each study, such as one patient, one diagnosis or the views of one study. Studies of
            one group are not negatives of each other, and some objectives treat them as positives. None when each
            study is a group.
        gathered: whether every rank holds these same studies, so that ranks may share the work.
    """

    embeddings: Embeddings
    present: Present
    groups: Groups | None
    gathered: bool = False

    @classmethod
    def of(
        cls, embeddings: Embeddings, present: Present | None = None, groups: Groups | None = None
    ) -> "EmbeddingBatch":
        """Validate embeddings and build a batch of them; all rows are present when ``present`` is None.

        Raises:
            ValueError: there are fewer than two modalities, the shapes differ, or ``present`` lacks a modality.
        """
        if len(embeddings) < 2:
            raise ValueError(f"got modalities {list(embeddings)}, expected at least two; set `data.modalities`")
        shapes = {name: tuple(value.shape) for name, value in embeddings.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"got embeddings of different shapes {shapes}; set one `embedding` width for all")
        exact = {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in embeddings.items()}
        return cls(embeddings=exact, present=cls.rows(embeddings, present), groups=groups)

    @staticmethod
    def rows(embeddings: Embeddings, present: Present | None) -> Present:
        """Return the mask of each modality; all rows are present when ``present`` is None."""
        if present is None:
            return {name: value.new_ones(len(value), dtype=torch.bool) for name, value in embeddings.items()}
        if unknown := [name for name in embeddings if name not in present]:
            raise ValueError(f"got embeddings of {unknown[0]!r} and `present` of {list(present)}; give both for each")
        return {name: present[name] for name in embeddings}

    def __len__(self) -> int:
        return len(next(iter(self.embeddings.values())))

    def only(self, names: Sequence[str]) -> "EmbeddingBatch":
        """Return the batch of the given modalities."""
        chosen = {name: self.embeddings[name] for name in names}
        return replace(self, embeddings=chosen, present={name: self.present[name] for name in names})

    def complete(self) -> "EmbeddingBatch":
        """Return the studies that have every modality."""
        rows = torch.stack(list(self.present.values())).all(dim=0)
        return replace(
            self,
            embeddings={name: value[rows] for name, value in self.embeddings.items()},
            present={name: value[rows] for name, value in self.present.items()},
            groups=None if self.groups is None else self.groups[rows],
        )

    def mates(self) -> Int[Tensor, " N"]:
        """Count the other studies in the group of each study."""
        if self.groups is None:
            return torch.zeros(len(self), dtype=torch.int64)
        return same_group(self.groups).sum(dim=1)

    def refuse_non_finite(self) -> None:
        """Refuse embeddings that are not finite, before they reach a weight.

        Raises:
            ValueError: an embedding is NaN or infinite.
        """
        for name, value in self.embeddings.items():
            broken = (~value.isfinite()).any(dim=1).nonzero()[:, 0].tolist()
            if broken:
                raise ValueError(
                    f"got embeddings of {name!r} that are not finite in rows {broken[:8]} of {len(value)}; "
                    "lower `model.lr`, set `trainer.gradient_clip_val`, or train in higher `trainer.precision`"
                )

    def zero_loss(self) -> Float[Tensor, ""]:
        """Return zero with a gradient path to every embedding, so that a batch without a loss can train."""
        return torch.stack([value.sum() * 0.0 for value in self.embeddings.values()]).sum()


def gather_embeddings(studies: EmbeddingBatch) -> EmbeddingBatch:
    """Gather the studies of all ranks, in order of rank; ranks may hold different numbers of studies.

    Every rank then computes the loss of the global batch. All ranks need the same modalities in the same order; a
    modality that no study of a rank has is passed as rows that are not present.
    """
    if world_size() == 1:
        return studies
    names = list(studies.embeddings)
    flags = [studies.present[name].long() for name in names]
    groups = [] if studies.groups is None else [studies.groups]
    values = rows_with_gradient(torch.stack(list(studies.embeddings.values()), dim=1))
    # Masks and groups share one integer tensor, and with it one collective call.
    integers = rows_without_gradient(torch.stack([*flags, *groups], dim=1))
    return EmbeddingBatch(
        embeddings={name: values[:, column] for column, name in enumerate(names)},
        present={name: integers[:, column].bool() for column, name in enumerate(names)},
        groups=integers[:, -1] if groups else None,
        gathered=True,
    )


def same_group(groups: Groups) -> Bool[Tensor, "N N"]:
    """Return the mask of pairs of different studies in one group."""
    same = groups[:, None] == groups
    return same & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)
