"""Running texts: every unit once, in order, in lanes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data import streams
from netwright.data.opening import detect, open_material, open_source
from netwright.data.streams import TextStream
from netwright.data.words import characters, decode, encode
from netwright.errors import DataError, NetwrightError
from netwright.preprocess import TextInput
from netwright.recipe.schema import Data

LETTERS = TextInput(unit="character", vocabulary=tuple("abcdefghij"))


def _stream(count: int, where: str = "train") -> TextStream:
    return TextStream((np.arange(count) % 10).astype(np.uint8), LETTERS, where=where)


@settings(deadline=None)
@given(st.integers(40, 400), st.integers(1, 6), st.integers(1, 20), st.integers(0, 5), st.integers(0, 3))
def test_batches_go_on_where_the_last_one_ended(count: int, lanes: int, length: int, epoch: int, seed: int) -> None:
    """Lane after lane is a stretch of the text; targets are the inputs one further; a resume gives the same batches."""
    stream = _stream(count)
    stream.ids = np.arange(count, dtype=np.int32)
    try:
        source = stream.configured(lanes, seed, length)
    except DataError:
        assert count - length < lanes * length
        return
    batches = list(source.epoch(epoch))
    assert len(batches) == len(source) > 0
    whole = torch.cat([batch.inputs[0] for batch in batches], 1)
    assert torch.equal(whole[:, 1:] - whole[:, :-1], torch.ones_like(whole[:, 1:]))
    assert torch.equal(torch.cat([batch.targets.view(lanes, -1) for batch in batches], 1), whole.long() + 1)
    assert whole.unique().numel() == whole.numel()
    assert count - whole.numel() <= lanes * length + length
    start = len(batches) // 2
    assert all(
        torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(batches[start:], source.epoch(epoch, start), strict=True)
    )


@settings(deadline=None)
@given(st.integers(3, 500), st.integers(1, 20))
def test_a_text_that_is_judged_is_read_whole(count: int, length: int) -> None:
    stream = _stream(count, "validation")
    stream.ids = np.arange(count, dtype=np.int32)
    source = stream.configured(7, 0, length)
    targets = torch.cat([batch.targets for batch in source.epoch(0)])
    assert targets.unique().numel() == targets.numel() > (count - 1) - source.lanes
    assert len(list(source.epoch(0))) == len(source)


def test_the_cuts_are_elsewhere_in_another_epoch() -> None:
    source = _stream(1000).configured(4, 0, 32)
    assert len({int(next(source.epoch(epoch)).inputs[0][0, 0]) for epoch in range(20)}) > 3


def test_parts_follow_each_other_and_share_nothing(tmp_path: Path) -> None:
    text = "".join(chr(97 + (7 * n + n // 26) % 26) for n in range(2000))
    (tmp_path / "book.txt").write_text(text + "\n" + text)
    whole = open_material(Data(source=str(tmp_path / "book.txt"), format="text", test=0.2, validation=0.1))
    assert isinstance(whole, TextStream)
    parts = [whole, whole.validation, whole.test]
    assert "".join(decode(part.ids, whole.text) for part in parts) == text + "\n" + text
    assert [round(len(part.ids) / 4001, 1) for part in parts] == [0.7, 0.1, 0.2]


def test_the_vocabulary_is_the_training_parts(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("ab\n" * 400 + "zz\n" * 40)
    stream = open_material(Data(source=str(tmp_path / "book.txt"), format="text"))
    assert isinstance(stream, TextStream)
    assert stream.text.vocabulary == ("\n", "a", "b")
    assert "z" not in decode(stream.validation.ids, stream.text)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_characters_come_back(text: str) -> None:
    record = TextInput(unit="character", vocabulary=characters(text))
    ids = encode(text, record)
    assert decode(ids, record) == text
    assert ids.dtype == (np.uint8 if len(record.vocabulary) <= 256 else np.int32)
    assert decode(encode(text + "\U0010ffff" * ("\U0010ffff" not in text), record), record) == text


def test_a_text_is_seen_by_its_content_and_a_column_of_numbers_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak.\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n3,4\n")
    (tmp_path / "c.csv").write_text("value\n1.5\n2.5\n-3\n")
    (tmp_path / "d").write_text(
        "It was, as he said,\nlate; but who, then, would\nwait, or go, or sing,\nor, at last, sleep?\n"
    )
    (tmp_path / "e.data").write_text('|a comment\n"Doe, J.";1;"a, b, c"\n"Roe, K., M.";2;x\n"Poe";3;y\n"Moe";3;y\n')
    kinds = [detect(tmp_path / name) for name in ("a", "b.csv", "c.csv", "d", "e.data")]
    assert kinds == ["text", "table", "table", "text", "table"]


def test_texts_that_are_too_short_or_binary_stop(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a b\nc\n")
    (tmp_path / "zero.txt").write_bytes(b"\0" * 500)
    for name in ("short.txt", "zero.txt"):
        with pytest.raises(NetwrightError):
            open_material(Data(source=str(tmp_path / name), format="text"))
    (tmp_path / "long.txt").write_text("some words\n" * 100)
    with pytest.raises(DataError, match="running text"):
        open_source(Data(source=str(tmp_path / "long.txt"), format="text"))
    whole = streams.read(Data(format="text"), tmp_path / "long.txt", {})
    with pytest.raises(DataError, match=r"train\.batch_size"):
        whole.configured(64, 0, 512)


def test_words_are_limited_and_the_rest_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("The cat sat.\nThe dog, it sat!\n" * 60)
    stream = streams.read(Data(format="text", unit="word", vocabulary=5, validation=0.0), tmp_path / "book.txt", {})
    assert stream.text.vocabulary == ("<unk>", "\n", "sat", "the", "!")
    assert set(np.unique(stream.ids)) == {0, 1, 2, 3, 4}
