"""What an objective contrasts: the embeddings of some studies, which of them are real, and which belong together."""

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
    """``N`` studies, of one rank or of all.

    Attributes:
        embeddings: per modality ``N`` unnormalised vectors in single precision or better.
        present: per modality which rows are real; the others hold anything finite.
        groups: studies of equal number belong together: one patient, one diagnosis, two views of one study. They are
            no negatives of each other, and positives for the objectives that say so. None when each stands alone.
        joined: whether every rank holds these same studies, so that ranks may share the work.
    """

    embeddings: Embeddings
    present: Present
    groups: Groups | None
    joined: bool = False

    @classmethod
    def of(
        cls, embeddings: Embeddings, present: Present | None = None, groups: Groups | None = None
    ) -> "EmbeddingBatch":
        """Check what a caller gives; every row is real when ``present`` is None.

        Raises:
            ValueError: fewer than two modalities, or shapes that differ.
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
        """Which rows are real: all of them when ``present`` is None."""
        if present is None:
            return {name: value.new_ones(len(value), dtype=torch.bool) for name, value in embeddings.items()}
        if unknown := [name for name in embeddings if name not in present]:
            raise ValueError(f"got embeddings of {unknown[0]!r} and `present` of {list(present)}; give both for each")
        return {name: present[name] for name in embeddings}

    def __len__(self) -> int:
        return len(next(iter(self.embeddings.values())))

    def only(self, names: Sequence[str]) -> "EmbeddingBatch":
        """Some of the modalities."""
        chosen = {name: self.embeddings[name] for name in names}
        return replace(self, embeddings=chosen, present={name: self.present[name] for name in names})

    def complete(self) -> "EmbeddingBatch":
        """The studies that have every modality."""
        rows = torch.stack(list(self.present.values())).all(dim=0)
        return replace(
            self,
            embeddings={name: value[rows] for name, value in self.embeddings.items()},
            present={name: value[rows] for name, value in self.present.items()},
            groups=None if self.groups is None else self.groups[rows],
        )

    def mates(self) -> Int[Tensor, " N"]:
        """How many other studies belong together with each."""
        if self.groups is None:
            return torch.zeros(len(self), dtype=torch.int64)
        return same_group(self.groups).sum(dim=1)

    def refuse_non_finite(self) -> None:
        """Stop before a broken batch reaches a weight.

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
        """Zero with a gradient path to every embedding, so that an empty batch trains like any other."""
        return torch.stack([value.sum() * 0.0 for value in self.embeddings.values()]).sum()


def gather_embeddings(studies: EmbeddingBatch) -> EmbeddingBatch:
    """Join the studies of all ranks, in order of rank; ranks may hold different numbers of them.

    Every rank computes the loss of the joined batch. Each names the same modalities in the same order; one that no
    study of a rank has comes as rows that are not present.
    """
    if world_size() == 1:
        return studies
    names = list(studies.embeddings)
    flags = [studies.present[name].long() for name in names]
    groups = [] if studies.groups is None else [studies.groups]
    values = rows_with_gradient(torch.stack(list(studies.embeddings.values()), dim=1))
    facts = rows_without_gradient(torch.stack([*flags, *groups], dim=1))
    return EmbeddingBatch(
        embeddings={name: values[:, column] for column, name in enumerate(names)},
        present={name: facts[:, column].bool() for column, name in enumerate(names)},
        groups=facts[:, -1] if groups else None,
        joined=True,
    )


def same_group(groups: Groups) -> Bool[Tensor, "N N"]:
    """Which pairs of different studies belong together."""
    same = groups[:, None] == groups
    return same & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)
