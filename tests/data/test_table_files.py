"""Table files: Parquet gives what its CSV gives, and its faults are named."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from small_tables import file, raw, table

from netwright.data.tables import read, rows
from netwright.errors import DataError, MissingExtraError
from netwright.recipe.schema import Data


def test_parquet_is_read_as_its_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    days = [datetime.date(2020, 1, 1) + datetime.timedelta(5 * i) for i in range(40)]
    columns = {
        "n": [i * 0.25 for i in range(40)], "i": list(range(40, 0, -1)), "d": days,
        "b": [i % 3 == 0 for i in range(40)], "t": [None if i == 7 else "uvw"[i % 3] for i in range(40)],
        "y": ["no", "yes"] * 20,
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    plain = read(Data(), file(tmp_path, ",".join(columns) + "\n" + "\n".join(lines)))
    examples = read(Data(), tmp_path / "t.parquet")
    assert table(examples) == table(plain)
    assert np.array_equal(raw(examples), raw(plain))
    assert np.array_equal(examples.parts["train"].targets, plain.parts["train"].targets)
    cells, places = rows(tmp_path / "t.parquet", table(plain))
    assert np.array_equal(cells, raw(plain))
    assert places[:2] == ("row 1", "row 2")
    again = read(Data(), tmp_path / "t.parquet", plain)
    assert np.array_equal(raw(again), raw(plain))


def test_faults_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, None], "y": [0.5, 1.5]}), path)
    with pytest.raises(DataError, match="column 'a', row 2: got a missing number"):
        read(Data(), path)
    parquet.write_table(pyarrow.table({"a": [[1], [2]], "y": [0.5, 1.5]}), path)
    with pytest.raises(DataError, match="column 'a': got values of type list"):
        read(Data(), path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read(Data(), path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"netwright\[parquet\]"):
        read(Data(), path)
