"""Shapes and types of signatures that name an array are checked in every test."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from polyclinic.cohort.leakage.overlap import KeySet
from polyclinic.cohort.table import read_table
from polyclinic.objectives import Symile


def test_an_array_of_another_shape_is_refused_also_inside_a_mapping() -> None:
    with pytest.raises(TypeCheckError, match="parameter 'embeddings'"):
        Symile()({name: torch.zeros(3) for name in "abc"})


def test_an_array_of_another_kind_is_refused_by_a_dataclass() -> None:
    hashes = {name: np.zeros(2, dtype=np.int64) for name in ("patients", "canonical")}
    with pytest.raises(TypeCheckError, match="parameter 'contents'"):
        KeySet(**hashes, contents=np.zeros(2))


def test_other_functions_are_left_to_mypy() -> None:
    assert not hasattr(read_table, "__wrapped__")
