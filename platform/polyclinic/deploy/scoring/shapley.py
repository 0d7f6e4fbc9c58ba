"""Exact Shapley values over few players, as one matrix."""

from itertools import combinations
from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def coalitions(players: int) -> Bool[Tensor, "S M"]:
    """Every set of players, the empty one first: row ``s`` holds player ``m`` where bit ``m`` of ``s`` is set."""
    numbers = torch.arange(2**players)
    return (numbers[:, None] >> torch.arange(players)) % 2 == 1


def shapley_weights(players: int) -> Float[Tensor, "M S"]:
    """What takes the values of all coalitions to each player's share (Shapley 1953, equation 12)."""
    weights = torch.zeros(players, 2**players, dtype=torch.float64)
    for player in range(players):
        others = [one for one in range(players) if one != player]
        for size in range(players):
            share = factorial(size) * factorial(players - size - 1) / factorial(players)
            for some in combinations(others, size):
                without = sum(1 << one for one in some)
                weights[player, without | 1 << player] += share
                weights[player, without] -= share
    return weights
