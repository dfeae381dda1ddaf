"""The rows of a run's ``run.sqlite``: losses, metrics, measurements and findings, appended and read back. No torch."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netwright.errors import RunError
from netwright.records import EpochRow, Finding, Measurement, to_builtin

VERSION = 1
FLUSH_SECONDS = 1.0
LARGEST_FLOAT32 = 3.4028234663852886e38

_TABLES = """
create table if not exists about (key text primary key, value text not null);
create table if not exists series
    (name text, step integer, count integer, blob blob not null, primary key (name, step));
create table if not exists epochs
    (epoch integer, split text, step integer, seconds real, metrics text not null, primary key (epoch, split));
create table if not exists layer_lists (id integer primary key, names text not null unique);
create table if not exists probed
    (step integer, probe text, layers integer, unit text, blob blob not null, primary key (step, probe, layers));
create table if not exists findings (id integer primary key, step integer, finding text not null);
create table if not exists details (name text primary key, step integer, value text not null);
"""


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    try:
        if not write:
            connection = sqlite3.connect(f"file:{path.as_posix()}?mode=ro", uri=True, timeout=10)
            connection.execute("select count(*) from about")
            return connection
        connection = sqlite3.connect(path, timeout=30)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=normal")
        connection.executescript(_TABLES)
        connection.execute("insert or ignore into about values ('version', ?)", (str(VERSION),))
        connection.commit()
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    else:
        return connection


def _explained(path: Path, error: sqlite3.Error) -> RunError:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return RunError(
            str(path), "a full disk", "room to write; what was saved before is whole", "free space, then train --resume"
        )
    if "readonly" in text or "unable to open" in text:
        return RunError(
            str(path), f"a file that cannot be opened or written ({text})", "a writable folder", "--out FOLDER"
        )
    hint = "rename it: the run goes on, and its report has no curves before that"
    return RunError(str(path), f"a damaged database ({text})", "the database of a run", hint)


class Log:
    """Appends to ``run.sqlite``; rows are buffered and written about once a second, or when asked to ``flush``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _connect(path, write=True)
        self._rows: list[tuple[str, tuple[Any, ...]]] = []
        self._layer_lists: dict[tuple[str, ...], int] = {}
        self._flushed = time.monotonic()

    def series(self, name: str, first_step: int, values: Sequence[float]) -> None:
        """Consecutive values of a per-step quantity, the first at ``first_step``, kept as one ``float32`` blob."""
        if len(values):
            blob = struct.pack(f"<{len(values)}f", *values)
            self._add("insert or replace into series values (?, ?, ?, ?)", (name, first_step, len(values), blob))

    def epoch(self, row: EpochRow) -> None:
        metrics = json.dumps(to_builtin(row.metrics))
        self._add(
            "insert or replace into epochs values (?, ?, ?, ?, ?)",
            (row.epoch, row.split, row.step, row.seconds, metrics),
        )

    def measurements(self, rows: Iterable[Measurement]) -> None:
        """What probes saw: one ``float32`` blob a probe and step, over all its layers."""
        groups: dict[tuple[int, str, str, int], dict[str, tuple[float | None, ...]]] = {}
        for row in rows:
            groups.setdefault((row.step, row.probe, row.unit, len(row.values)), {})[row.layer] = row.values
        for (step, probe, unit, _), seen in groups.items():
            values = [math.nan if value is None else value for each in seen.values() for value in each]
            blob = struct.pack(f"<{len(values)}f", *map(_as_float32, values))
            place = self._layer_list(tuple(seen))
            self._add("insert or replace into probed values (?, ?, ?, ?, ?)", (step, probe, place, unit, blob))

    def _layer_list(self, names: tuple[str, ...]) -> int:
        """The number under which a list of layers is kept, because it is the same at nearly every step."""
        if names not in self._layer_lists:
            text = json.dumps(names)
            try:
                with self._connection:
                    self._connection.execute("insert or ignore into layer_lists (names) values (?)", (text,))
                found = self._connection.execute("select id from layer_lists where names = ?", (text,)).fetchone()
            except sqlite3.Error as error:
                raise _explained(self._path, error) from error
            self._layer_lists[names] = int(found[0])
        return self._layer_lists[names]

    def finding(self, step: int, finding: Finding) -> None:
        self._add("insert into findings (step, finding) values (?, ?)", (step, finding.to_json()))

    def detail(self, name: str, step: int, value: Any) -> None:
        """A larger JSON value that a report shows (a confusion matrix, the worst mistakes)."""
        self._add("insert or replace into details values (?, ?, ?)", (name, step, json.dumps(to_builtin(value))))

    def _add(self, statement: str, values: tuple[Any, ...]) -> None:
        self._rows.append((statement, values))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._flushed = time.monotonic()
        if not self._rows:
            return
        try:
            with self._connection:
                for statement, values in self._rows:
                    self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise _explained(self._path, error) from error
        self._rows.clear()

    def rewind(self, step: int) -> None:
        """Delete the rows beyond ``step``: they were written by a process that was killed before its checkpoint."""
        self._rows.clear()
        try:
            with self._connection:
                for table in ("epochs", "probed", "findings", "details"):
                    self._connection.execute(f"delete from {table} where step > ?", (step,))
                self._connection.execute("delete from series where step > ?", (step,))
        except sqlite3.Error as error:
            raise _explained(self._path, error) from error

    def close(self) -> None:
        with contextlib.suppress(RunError):
            self.flush()
        self._connection.close()


class Reader:
    """Reads ``run.sqlite``, also while another process writes it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise RunError(str(path), "no such file", "a run that has started", "netwright runs")
        self._path = path
        self._connection = _connect(path, write=False)
        version = self._connection.execute("select value from about where key = 'version'").fetchone()
        if version is None or version[0] != str(VERSION):
            raise RunError(
                str(path), f"version {version and version[0]}", f"version {VERSION}", "the netwright that wrote it"
            )

    def _all(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _explained(self._path, error) from error

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a per-step quantity."""
        steps: list[int] = []
        values: list[float] = []
        for first, count, blob in self._all(
            "select step, count, blob from series where name = ? order by step", (name,)
        ):
            steps.extend(range(first, first + count))
            values.extend(struct.unpack(f"<{count}f", blob))
        return steps, values

    def epochs(self) -> list[EpochRow]:
        rows = self._all("select epoch, split, step, seconds, metrics from epochs order by epoch, split")
        return [
            EpochRow(epoch=epoch, split=split, step=step, seconds=seconds, metrics=json.loads(metrics))
            for epoch, split, step, seconds, metrics in rows
        ]

    def measurements(self, probe: str | None = None) -> Iterator[Measurement]:
        """What probes saw, in the order of the steps; a value that was not finite is None."""
        if not self._all("select 1 from sqlite_master where name = 'probed'"):  # a run of before there were probes
            return
        query = (
            "select step, probe, names, unit, blob from probed join layer_lists on id = layers"
            + (" where probe = ?" if probe else "")
            + " order by step"
        )
        lists: dict[str, list[str]] = {}
        for step, name, names, unit, blob in self._all(query, (probe,) if probe else ()):
            if names not in lists:
                lists[names] = json.loads(names)
            layers = lists[names]
            values = struct.unpack(f"<{len(blob) // 4}f", blob)
            each = len(values) // max(1, len(layers))
            for place, layer in enumerate(layers):
                seen = values[place * each : (place + 1) * each]
                finite = tuple(value if math.isfinite(value) else None for value in seen)
                yield Measurement(probe=name, step=step, layer=layer, unit=unit, values=finite)

    def findings(self) -> list[Finding]:
        return [Finding.from_json(row[0]) for row in self._all("select finding from findings order by id")]

    def detail(self, name: str) -> Any:
        rows = self._all("select value from details where name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def close(self) -> None:
        self._connection.close()


def _as_float32(value: float) -> float:
    """A number beyond ``float32`` as an infinity: ``struct`` refuses it otherwise."""
    return value if abs(value) <= LARGEST_FLOAT32 or value != value else math.copysign(math.inf, value)
