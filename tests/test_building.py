"""A resolved recipe becomes pieces that fit each other, or stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import netwright
from netwright.errors import RecipeError
from netwright.recipe import Recipe, override


def _asked(**changes: Any) -> Recipe:
    small = {"network.name": "mlp", "network.width": 8, "train.epochs": 1, "data.limit": 40, "watch.enabled": False}
    return override(Recipe(), small | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize("norm", ["own", "batch"])
def test_batches_of_one_stop_before_a_batch_norm_of_vectors(tmp_path: Path, norm: str) -> None:
    """Whether the network brings it or the recipe asks for it; another norm learns from single examples."""
    with pytest.raises(RecipeError, match="batch norm over one value a channel"):
        netwright.train(_asked(train__batch_size=1, network__norm=norm), folder=tmp_path)
    assert not list(tmp_path.iterdir())  # nothing was begun
    netwright.train(_asked(train__batch_size=1, network__norm="layer"), folder=tmp_path)
