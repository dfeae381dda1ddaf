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


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_an_answer_at_every_position_is_for_running_texts(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(
        "text,y\n" + "".join(f"{['no', 'yes'][n % 2]} a b c d {n},{n % 2}\n" for n in range(40))
    )
    (tmp_path / "t.txt").write_text("the sea and the old man\n" * 30)
    read = {"network__name": name, "network__arguments": {"read": "every"}}
    with pytest.raises(RecipeError, match="every, an answer at each position") as caught:
        netwright.train(_asked(data__source=str(tmp_path / "t.csv"), data__limit=0, **read), folder=tmp_path / "runs")
    assert caught.value.suggestion == "--set network.arguments.read=mean"
    netwright.train(_asked(data__source=str(tmp_path / "t.txt"), data__limit=0, **read), folder=tmp_path / "runs")
