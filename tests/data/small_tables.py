"""Small tables and what is read of them, for the tests of tables."""

from pathlib import Path

import numpy as np

from netwright.data.examples import Examples
from netwright.preprocess import TablePreprocess

SMALL = "age,work,pay\n39,State,low\n50,Self,high\n38,Private,low\n53,Private,high\n28,?,high\n"


def file(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def table(examples: Examples) -> TablePreprocess:
    (record,) = examples.preprocess
    assert isinstance(record, TablePreprocess)
    return record


def names(examples: Examples) -> list[str]:
    return [column.name for column in table(examples).columns]


def raw(examples: Examples) -> np.ndarray:
    return np.asarray(examples.parts["train"].inputs[0])
