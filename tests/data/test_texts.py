"""Texts to judge: folders, archives, the vocabulary of the training part."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from netwright.data.opening import detect, open_source
from netwright.data.words import decode
from netwright.errors import DataError
from netwright.recipe.schema import Data
from reference import shared_folder

REVIEWS = shared_folder() / "data" / "text" / "sentiment" / "review_polarity.tar.gz"


def _folder(path: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return path


def _texts(train: int = 20) -> dict[str, str]:
    return {
        f"{label}/{n}.txt": f"{label} story number {n} it's well-made"
        for label in ("bad", "good")
        for n in range(train)
    }


def test_an_archive_reads_as_its_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", _texts())
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(folder, "set")
    assert detect(folder) == detect(tmp_path / "set.tar.gz") == "text"
    one, other = (open_source(Data(source=str(path))) for path in (folder, tmp_path / "set.tar.gz"))
    assert one.text == other.text
    assert one.classes == other.classes == ("bad", "good")
    for name, part in one.parts.items():
        assert np.array_equal(part.inputs[0], other.parts[name].inputs[0])
        assert np.array_equal(part.part_targets(), other.parts[name].part_targets())


def test_words_that_only_held_out_texts_have_are_unknown(tmp_path: Path) -> None:
    texts = {f"train/{name}": text for name, text in _texts().items()}
    texts |= {f"val/{label}/1.txt": f"{label} secret secret words" for label in ("bad", "good")}
    examples = open_source(Data(source=str(_folder(tmp_path, texts))))
    text = examples.text
    assert text is not None
    assert "secret" not in text.vocabulary
    held = examples.parts["validation"]
    assert decode(held.inputs[0][held.array_rows(np.arange(1))][0], text).startswith("bad <unk> <unk> <unk>")


def test_the_text_comes_back_and_the_frequent_come_first(tmp_path: Path) -> None:
    examples = open_source(Data(source=str(_folder(tmp_path, _texts())), validation=0))
    text, part = examples.text, examples.parts["train"]
    assert text is not None
    assert text.vocabulary[:2] == ("<pad>", "<unk>")
    counts = np.bincount(part.inputs[0].reshape(-1), minlength=len(text.vocabulary))[2:]
    assert (np.diff(counts) <= 0).all()
    assert counts[-1] >= 2  # a word seen once is unknown
    assert "it's" in text.vocabulary
    assert "well-made" in text.vocabulary
    assert part.inputs[0].dtype == np.uint8


def test_longer_texts_are_cut_and_said_so(tmp_path: Path) -> None:
    examples = open_source(Data(source=str(_folder(tmp_path, _texts())), length=3))
    assert examples.parts["train"].inputs[0].shape[1] == 3
    assert "40 texts" in examples.skipped[0]


def test_a_folder_without_classes_and_a_file_that_is_no_text_stop(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        open_source(Data(source=str(_folder(tmp_path / "flat", {"a.txt": "x", "b.txt": "y"})), format="text"))
    folder = _folder(tmp_path / "broken", _texts(2))
    (folder / "bad" / "0.txt").write_bytes(b"\x00\x01\x02")
    with pytest.raises(DataError, match=r"bad/0\.txt"):
        open_source(Data(source=str(folder)))


@pytest.mark.skipif(not REVIEWS.exists(), reason=f"no {REVIEWS}")
def test_the_published_reviews_are_two_thousand() -> None:
    examples = open_source(Data(source=str(REVIEWS), length=64, validation=0.1, test=0.1))
    assert examples.classes == ("neg", "pos")
    counts = sum(np.bincount(part.part_targets()) for part in examples.parts.values())
    assert counts.tolist() == [1000, 1000]
