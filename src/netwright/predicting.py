"""A run applied to new examples: files, streams or arrays, through the run's own preprocessing, in bounded memory."""

from __future__ import annotations

import dataclasses
import io
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import torch

from netwright import building
from netwright.data import arrays, pictures, sounds, tables, text_tables, windows
from netwright.data.examples import Array
from netwright.data.kinds import Family, Kind, kind_of
from netwright.data.texts import SUFFIXES, content_of, is_text, raw_of, text_of
from netwright.errors import DataError, UsageError, nearest
from netwright.nn.stochastic import dropping, drops
from netwright.preprocess import (
    ArrayPreprocess,
    ImagePreprocess,
    InputFile,
    Preprocess,
    SeriesPreprocess,
    TablePreprocess,
    raw_shape,
)
from netwright.preprocess.with_torch import Prepared
from netwright.records import Record, plural, shape_text
from netwright.workbench import Run

BATCH_SIZE = 256
STANDARD_INPUT = "-"
# The endings by which files in a folder are taken; a file that is named itself may have any.
ENDINGS: dict[type, frozenset[str]] = {
    ImagePreprocess: pictures.SUFFIXES | {".npy"},
    SeriesPreprocess: frozenset({".wav", ".wave"}),
    TablePreprocess: frozenset({".csv", ".tsv", ".parquet"}),
    ArrayPreprocess: frozenset({".npy", ".npz"}),
}


class Prediction(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a run says of one example; the fields of other tasks are absent.

    ``name``: a file, a row of a table (``line 2``) or the number of an example in an array (``#0``).
    ``label`` and ``probability``: the most probable class; ``probabilities``: of the classes, the most probable first.
    ``labels``: those more likely than not, where an example may have several. ``values``: of a regression, in the
    targets' own units. ``spread``: the standard deviations of those probabilities or values over passes with dropout.
    """

    name: str
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    labels: tuple[str, ...] | None = None
    values: dict[str, float] | None = None
    spread: dict[str, float] | None = None


def predict(
    run: Run, inputs: Any, *, batch_size: int = BATCH_SIZE, top: int | None = None, skip_broken: bool = False,
    passes: int = 0,
) -> list[Prediction]:  # fmt: skip
    """Predictions for ``inputs``, in their order.

    ``inputs``: a path or a list of paths (pictures, WAV files, tables, ``.npy``, folders of them), encoded bytes, an
    open file, a picture of Pillow, a pandas table, or arrays and tensors in raw form: ``uint8`` pictures (N, C, H, W)
    or (N, H, W, C), ``int16`` sound (N, 1, samples), what the run was trained on otherwise, also a single example.
    Several inputs: a tuple or a dictionary of arrays. ``top``: probabilities of so many classes (default: all).
    ``skip_broken``: leave unreadable files out instead of stopping at the first. ``passes``: predict so often with the
    network's dropout on, the same draws each time; the mean is the answer (Monte-Carlo dropout: Gal and Ghahramani
    2016), at so many times the cost.
    """
    return list(Predictor(run, batch_size=batch_size, top=top, skip_broken=skip_broken, passes=passes)(inputs))


@dataclasses.dataclass
class _Piece:
    """Some raw examples, one array an input of the network, and a name for each."""

    raws: tuple[Array, ...]
    names: list[str]


class Predictor:
    """The run in ``directory`` made ready to predict, one stream of inputs after another.

    ``skipped``: files that were left out, each with the reason. ``notes``: what was read otherwise than it stands.
    """

    def __init__(
        self, run: Run, *, batch_size: int = BATCH_SIZE, top: int | None = None, skip_broken: bool = False,
        passes: int = 0,
    ) -> None:  # fmt: skip
        for name, value in (("batch_size", batch_size), ("top", 1 if top is None else top)):
            if value < 1:
                raise UsageError(name, str(value), "a whole number >= 1")
        recipe, self.directory = run.recipe, run.directory
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self._top, self._batch_size, self._skip_broken = top, batch_size, skip_broken
        self._missing, self._header = recipe.data.missing, recipe.data.header
        self._file: InputFile = run.inputs
        self._network = run.network
        self._own_loss = recipe.objective.loss == "python"
        self._objective = building.objective(recipe, self._file, None, loss=_no_loss if self._own_loss else None)
        parameter = next(self._network.parameters(), None)
        place = torch.device("cpu") if parameter is None else parameter.device
        self._prepare = tuple(Prepared(record, place) for record in self._file.inputs)
        self._passes = passes
        if passes:
            self._require_dropout(passes)

    def __call__(self, inputs: Any) -> Iterator[Prediction]:
        for piece in self._batches(self._pieces(inputs)):
            yield from self._judged(piece)

    def raw(self, inputs: Any) -> tuple[Array, ...]:
        """All of ``inputs`` in raw form, (N, …) for each input of the network."""
        pieces = list(self._pieces(inputs))
        if not pieces:
            raise DataError("examples", "nothing that could be read", "at least one")
        return _joined(pieces).raws

    def prepared(self, inputs: Any) -> torch.Tensor:
        """All of ``inputs`` as the network takes them (N, …), of a network with one input."""
        pieces = [self._prepare[0](_tensor(piece.raws[0])) for piece in self._batches(self._pieces(inputs))]
        if not pieces:
            raise DataError("examples", "nothing that could be read", "at least one")
        return torch.cat(pieces)

    # ---- the network

    def _require_dropout(self, passes: int) -> None:
        if passes < 2:
            raise UsageError("passes", str(passes), "2 or more, which can differ", "passes=20")
        if self._own_loss:
            raise UsageError("passes", "a run with a loss of its own", "a loss that tells probabilities or values")
        if not any(drops(module) for module in self._network.modules()):
            raise UsageError(
                "passes", "a network without dropout", "one that leaves units out at random",
                "netwright train … --set network.dropout=0.2",
            )  # fmt: skip

    def _drawn(self, call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decisions, mean probabilities (or values) and their deviations over passes with dropout."""
        with dropping(self._network, seed=0):
            draws = torch.stack([self._objective.probabilities(call()).double().cpu() for _ in range(self._passes)])
        mean = draws.mean(0)
        task = self._file.task
        decisions = (
            mean if task == "regression" else mean.argmax(1) if task == "classification" else (mean > 0.5).long()
        )
        return decisions, mean, draws.std(0)

    def _judged(self, piece: _Piece) -> Iterator[Prediction]:
        modes = [(module, module.training) for module in self._network.modules()]
        self._network.eval()
        try:
            with torch.inference_mode():
                tensors = [_tensor(raw) for raw in piece.raws]
                prepared = [prepare(tensor) for prepare, tensor in zip(self._prepare, tensors, strict=True)]
                names = self._file.input_names

                def call() -> torch.Tensor:
                    if names:
                        return self._network(**dict(zip(names, prepared, strict=True)))  # type: ignore[no-any-return]
                    return self._network(*prepared)  # type: ignore[no-any-return]

                if self._passes:
                    decisions, probabilities, deviations = self._drawn(call)
                else:
                    outputs = call()
                    decisions = self._objective.decide(outputs).cpu()
                    probabilities = self._objective.probabilities(outputs).float().cpu()
        finally:
            for module, mode in modes:
                module.training = mode
        rows = zip(piece.names, decisions.tolist(), probabilities.reshape(len(piece.names), -1).tolist(), strict=True)
        for place, (name, decision, row) in enumerate(rows):
            said = self._prediction(name, decision, row)
            if self._passes:
                told = said.values or said.probabilities or {}
                order = self._file.targets if self._file.task == "regression" else self._file.classes
                spread = dict(zip(order, deviations.reshape(len(piece.names), -1)[place].tolist(), strict=True))
                said = msgspec.structs.replace(said, spread={each: spread[each] for each in told})
            yield said if self._file.window is None else self._forecasted(said, piece.raws[0][place])

    def _forecasted(self, said: Prediction, raw: Array) -> Prediction:
        """Changes as the values that they lead to."""
        assert self._file.window is not None
        values = windows.restored(said.values or {}, raw, self._file.window)
        spread = None if said.spread is None else dict(zip(values, said.spread.values(), strict=True))
        return msgspec.structs.replace(said, values=values, spread=spread)

    def _prediction(self, name: str, decision: Any, row: list[float]) -> Prediction:
        file = self._file
        if file.task == "regression" or (self._own_loss and file.task == "multi-label"):
            values = decision if isinstance(decision, list) else [decision]
            names = file.targets or file.classes
            return Prediction(name=name, values=dict(zip(names, map(float, values), strict=True)))
        if self._own_loss:  # only that loss knows whether the outputs are logits
            return Prediction(name=name, label=file.classes[decision])
        if len(row) == 1 and len(file.classes) == 2:
            row = [1 - row[0], row[0]]
        order = sorted(range(len(row)), key=lambda position: -row[position])[: self._top]
        probabilities = {file.classes[position]: row[position] for position in order}
        if file.task == "multi-label":
            labels = tuple(label for label, said in zip(file.classes, decision, strict=True) if said)
            return Prediction(name=name, labels=labels, probabilities=probabilities)
        label = file.classes[decision]
        return Prediction(name=name, label=label, probability=row[decision], probabilities=probabilities)

    # ---- inputs

    def _batches(self, pieces: Iterable[_Piece]) -> Iterator[_Piece]:
        """Pieces of any size as batches of the wanted one, also across files."""
        held: list[_Piece] = []
        count = 0
        for piece in pieces:
            start = 0
            while start < len(piece.names):
                stop = min(len(piece.names), start + self._batch_size - count)
                raws = tuple(np.asarray(raw[start:stop]) for raw in piece.raws)
                held.append(_Piece(raws, piece.names[start:stop]))
                count, start = count + stop - start, stop
                if count == self._batch_size:
                    yield _joined(held)
                    held, count = [], 0
        if held:
            yield _joined(held)

    def _pieces(self, inputs: Any) -> Iterator[_Piece]:
        if isinstance(inputs, str | Path):
            yield from self._files([_path(inputs)])
        elif _is_paths(inputs):
            yield from self._files([_path(path) for path in inputs])
        elif isinstance(inputs, bytes | bytearray | memoryview) or hasattr(inputs, "read"):
            yield from self._stream(inputs if hasattr(inputs, "read") else io.BytesIO(bytes(inputs)), "#0")
        elif hasattr(inputs, "to_csv"):  # a pandas table
            content = inputs.to_csv(index=False)
            if self._file.text is not None and self._file.text.columns:
                yield from self._text_rows(io.StringIO(content), False)
            else:
                yield from self._stream(io.StringIO(content), "")
        elif hasattr(inputs, "getbands"):  # a picture of Pillow
            content = io.BytesIO()
            inputs.save(content, "PNG")
            yield from self._stream(io.BytesIO(content.getvalue()), "#0")
        else:
            yield from self._arrays(inputs)

    def _arrays(self, inputs: Any) -> Iterator[_Piece]:
        records = self._file.inputs
        if isinstance(inputs, Mapping):
            missing = [name for name in self._file.input_names if name not in inputs]
            if missing or not self._file.input_names:
                wanted = ", ".join(self._file.input_names) or "no names: an array or a tuple"
                raise DataError("inputs", f"the keys {', '.join(map(str, inputs))}", wanted)
            given = [inputs[name] for name in self._file.input_names]
        elif len(records) > 1:
            given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        else:
            given = [inputs]
        if len(given) != len(records):
            raise DataError("inputs", plural(len(given), "array"), f"{len(records)}, one an input of the network")
        where = self._file.input_names or tuple(f"input {number}" for number in range(len(records)))
        if len(records) == 1:
            where = ("inputs",)
        raws = tuple(
            raw_array(_array(value, name), record, name)
            for value, record, name in zip(given, records, where, strict=True)
        )
        if len({len(raw) for raw in raws}) > 1:
            lengths = ", ".join(str(len(raw)) for raw in raws)
            raise DataError("inputs", f"arrays of {lengths} examples", "as many in each")
        yield _Piece(raws, [f"#{number}" for number in range(len(raws[0]))])

    @property
    def _record(self) -> Preprocess:
        if len(self._file.inputs) > 1:
            raise DataError(
                "inputs", "a file", f"{len(self._file.inputs)} arrays: the network has that many inputs",
                "netwright.predict(run, (first, second))",
            )  # fmt: skip
        return self._file.inputs[0]

    def _files(self, paths: list[Path]) -> Iterator[_Piece]:
        record = self._record
        for path in paths:
            if not path.exists():
                beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
                near = nearest(path.name, beside)
                wanted = f"{self._takes.several}, or a folder of them"
                hint = str(path.with_name(near)) if near else f"ls {shlex.quote(str(path.parent))}"
                raise DataError(str(path), "no such file or folder", wanted, hint)
        several = len(paths) > 1 or any(path.is_dir() for path in paths)
        for path in self._expanded(paths, record):
            try:
                yield from self._file_pieces(path, record, several)
            except DataError as error:
                explained = _explained(error, path, self._takes)
                if not self._skip_broken:
                    hint = explained.suggestion or f"{self._takes.one}, as this run takes"
                    if several and (explained is not error or not explained.suggestion):
                        hint = "--skip-broken, or skip_broken=True"
                    raise DataError(explained.where, explained.got, explained.expected, hint) from error
                self.skipped.append(str(explained))

    @property
    def _takes(self) -> _Takes:
        if self._file.text is not None:
            columns = self._file.text.columns
            if not columns:
                return _TEXTS
            read = f"with the column{'s' * (len(columns) > 1)} {', '.join(columns)}"
            return _Takes(f"a table {read}", f"tables {read}", "table")
        return _SERIES if self._file.window is not None else _TAKES[type(self._record)]

    def _expanded(self, paths: list[Path], record: Preprocess) -> Iterator[Path]:
        endings = ENDINGS[type(record)]
        if self._file.text is not None:
            endings = SUFFIXES | ENDINGS[TablePreprocess] if self._file.text.columns else SUFFIXES
        elif self._file.window is not None:
            endings = ENDINGS[TablePreprocess]
        for path in paths:
            if not path.is_dir():
                yield path
                continue
            found, others = [], 0
            for file in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
                if file.is_dir() or hidden:
                    continue
                if file.suffix.lower() in endings:
                    found.append(file)
                else:
                    others += 1
            if not found:
                takes = self._takes
                raise DataError(
                    str(path), f"a folder without {takes.one}" if others else "an empty folder",
                    f"{takes.several}, as this run takes: files ending in {', '.join(sorted(endings))}",
                    "name the files themselves",
                )  # fmt: skip
            if others:
                self.skipped.append(f"{path}: {plural(others, 'file')} of other kinds")
            yield from found

    def _file_pieces(self, path: Path, record: Preprocess, several: bool) -> Iterator[_Piece]:
        """One file's examples; ``several``: the names of rows say which file they are of."""
        if path.suffix.lower() in (".npy", ".npz"):
            array = arrays.load(path) if path.suffix.lower() == ".npy" else _from_npz(path)
            yield from self._rows_of(array, record, str(path))
            return
        match record:
            case ImagePreprocess():
                yield _Piece((pictures.decode(path, record)[None],), [str(path)])
            case SeriesPreprocess():
                yield _Piece((sounds.decode(path, record)[None],), [str(path)])
            case TablePreprocess():
                yield from self._table(path, record, f"{path}: " if several else "")
            case ArrayPreprocess() if self._file.text is not None:
                table = path.suffix.lower() in ENDINGS[TablePreprocess]
                if self._file.text.columns and not is_text(path.name):
                    yield from self._text_rows(path, several)
                elif table:
                    wanted = f"{_TEXTS.several}, as this run takes"
                    raise DataError(str(path), "a table", wanted, "a run that was trained on a table")
                else:
                    yield from self._texts(path.read_bytes() if is_text(path.name) else content_of(path), str(path))
            case ArrayPreprocess() if self._file.window is not None:
                yield from self._forecast(path, str(path))
            case ArrayPreprocess():
                if (kind := kind_of(path)) and kind.family == "array":
                    yield from self._rows_of(arrays.load(path), record, str(path))
                    return
                raise DataError(str(path), f"a file ending in {path.suffix or 'nothing'}", "a .npy or .npz file")

    def _rows_of(self, array: Array, record: Preprocess, where: str) -> Iterator[_Piece]:
        """A large memory-mapped array in slices; a small one at once, because it may be a single example."""
        many = array.ndim > len(raw_shape(record)) and len(array) > self._batch_size
        step = self._batch_size if many else max(1, len(array) if array.ndim else 1)
        for start in range(0, len(array) if array.ndim else 1, step):
            raw = raw_array(array[start : start + step] if many else array, record, where)
            yield _Piece((raw,), [f"{where}: #{start + number}" for number in range(len(raw))])
            if not many:
                return

    def _stream(self, stream: IO[Any], name: str) -> Iterator[_Piece]:
        record = self._record
        content = stream.read()
        if isinstance(content, str) and self._file.text is not None:
            content = content.encode()
        if isinstance(content, str) and isinstance(record, TablePreprocess):
            yield from self._table(io.StringIO(content), record)
            return
        if isinstance(content, str):
            raise DataError(name, "text", f"the bytes of {_TAKES[type(record)].one}", "open it with mode 'rb'")
        if not content:
            raise DataError(
                name, "nothing", f"the bytes of {_TAKES[type(record)].one}", "netwright predict RUN - < FILE"
            )
        try:
            yield from self._content(content, record, name or str(getattr(stream, "name", "")))
        except DataError as error:
            raise _explained(error, content, self._takes) from error

    def _texts(self, content: bytes, name: str) -> Iterator[_Piece]:
        """One text, in the units of training."""
        record = self._file.text
        assert record is not None
        if not record.length:
            raise DataError(
                name, "a text for a run that goes on with one", "--sample", "netwright predict RUN --sample 500"
            )
        yield _Piece((raw_of([text_of(content, name)], record),), [name])

    def _text_rows(self, source: Path | IO[Any], several: bool) -> Iterator[_Piece]:
        """The texts in a table's rows."""
        assert self._file.text is not None
        ids, places = text_tables.rows(source, self._file.text, missing=self._missing, header=self._header)
        yield _Piece((ids,), [f"{source}: {place}" if several else place for place in places])

    def _forecast(self, source: Path | IO[bytes], name: str) -> Iterator[_Piece]:
        """The last window of a table: the forecast is of the steps after its end."""
        window = self._file.window
        assert window is not None
        yield _Piece((windows.latest(source, window, self._header),), [name])

    def _table(self, source: Path | IO[Any], record: TablePreprocess, before: str = "") -> Iterator[_Piece]:
        """The rows of a table; ``before``: what stands before a row's name."""
        cells, places = tables.rows(source, record, missing=self._missing, header=self._header)
        self.notes += tables.unseen(record, cells, lambda row: f"{before}{places[row]}")
        yield _Piece((cells,), [f"{before}{place}" for place in places])

    def _content(self, content: bytes, record: Preprocess, name: str) -> Iterator[_Piece]:
        if isinstance(record, TablePreprocess):
            yield from self._table(_Named(content, name), record)
        elif self._file.text is not None:
            first = content.partition(b"\n")[0].decode("utf-8", "ignore")
            if self._file.text.columns and all(column in first for column in self._file.text.columns):
                yield from self._text_rows(_Named(content, name), False)  # its first row has the columns' names
            else:
                yield from self._texts(content, name)
        elif self._file.window is not None:
            yield from self._forecast(_Named(content, name), name)
        elif content.startswith(b"\x93NUMPY") and not isinstance(record, SeriesPreprocess):
            yield from self._rows_of(_from_bytes(content, name), record, name)
        elif isinstance(record, ImagePreprocess):
            yield _Piece((pictures.decode(content, record)[None],), [name])
        elif isinstance(record, SeriesPreprocess):
            yield _Piece((sounds.decode(content, record)[None],), [name])
        else:
            raise DataError(name, "bytes that are no NumPy file", _TAKES[type(record)].one)

    def standard_input(self, stream: IO[bytes]) -> Iterator[Prediction]:
        """What ``-`` stands for: one picture, sound or array, or the rows of a table."""
        for piece in self._batches(self._stream(stream, STANDARD_INPUT)):
            yield from self._judged(piece)


class _Named(io.BytesIO):
    """Bytes that know where they came from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = "<stdin>" if name == STANDARD_INPUT else name


class _Takes(NamedTuple):
    one: str
    several: str
    family: Family


_TAKES: dict[type, _Takes] = {
    ImagePreprocess: _Takes("a picture", "pictures", "picture"),
    SeriesPreprocess: _Takes("a WAV file", "WAV files", "sound"),
    TablePreprocess: _Takes("a table", "tables", "table"),
    ArrayPreprocess: _Takes("an array (.npy or .npz)", "arrays", "array"),
}


_TEXTS = _Takes("a text (.txt)", "texts", "table")
_SERIES = _Takes("a table of time steps", "tables of time steps", "table")


def _explained(error: DataError, source: Path | bytes, takes: _Takes) -> DataError:
    """The error, or a better one where the file is of another kind than the run takes."""
    kind = kind_of(source)
    where = str(source) if isinstance(source, Path) else error.where
    if kind is None or kind.family == takes.family or where.lower().endswith((".npy", ".npz")):
        return error
    return DataError(where, kind.name, f"{takes.one}, as this run takes", _way_out(kind, takes))


def _way_out(kind: Kind, takes: _Takes) -> str:
    if kind.family == "archive":
        return "unpack it and name the folder"
    if kind.family == "array":
        return "a name that ends in .npy, if these are examples in the raw form of training"
    if takes.family == "picture" and kind.name.endswith(("picture", "drawing")):
        return "save it as PNG or JPEG"
    if takes.family == "sound" and "sound" in kind.name:
        return "ffmpeg -i FILE FILE.wav"
    others = ", or a run that was trained on such files (netwright runs)" if kind.family != "nothing" else ""
    return f"another file{others}"


def raw_array(array: Array, record: Preprocess, where: str) -> Array:
    """An array in the raw form of training, (N, ...); a single example becomes a batch of one."""
    if array.size == 0:
        raise DataError(where, f"an array of shape {array.shape}", "at least one example")
    arrays.check_finite(array, where)
    if isinstance(record, ArrayPreprocess | ImagePreprocess):
        return arrays.raw_like(array, record, where)
    shape = raw_shape(record)
    kinds, wanted = ("i", np.int16) if isinstance(record, SeriesPreprocess) else ("iuf", np.float32)
    if array.dtype.kind not in kinds:
        raise DataError(where, f"an array of {array.dtype}", str(np.dtype(wanted)))
    single = array.shape == shape or (len(shape) == 2 and shape[0] == 1 and array.shape == shape[1:])
    array = array.reshape(1, *shape) if single else array
    if array.shape[1:] != shape:
        raise DataError(where, f"an array of shape {array.shape}", f"(N, {shape_text(shape)})")
    return np.ascontiguousarray(array, wanted)


def _path(text: str | Path) -> Path:
    if text == "":  # which would be the folder one stands in
        raise DataError("inputs", "an empty text", "the path of a file or folder")
    return Path(text)


def _is_paths(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) and bool(inputs) and all(isinstance(path, str | Path) for path in inputs)


def _array(value: Any, where: str) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(where, f"a {type(value).__name__} ({error})", "an array or tensor") from error
    if array.dtype.kind not in "biuf":
        raise DataError(where, f"a {type(value).__name__} of {array.dtype}", "numbers, or paths as a list of texts")
    return array


def _from_npz(path: Path) -> Array:
    """The inputs in an archive: its only array, or the one that is named like inputs."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            named = [name for name in archive.files if name.lower() in arrays.INPUT_WORDS]
            names = named if len(named) == 1 else list(archive.files)
            if len(names) != 1:
                raise DataError(str(path), f"the arrays {', '.join(names)}", "one, or one named x")
            return np.asarray(archive[names[0]])
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise nearly anything on damaged archives
        raise DataError(str(path), f"a file that cannot be read ({error})", "an archive of arrays") from error


def _from_bytes(content: bytes, where: str) -> Array:
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise DataError(where, f"bytes that cannot be read ({error})", "a .npy file") from error


def _joined(pieces: list[_Piece]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    columns = zip(*(piece.raws for piece in pieces), strict=True)
    return _Piece(
        tuple(np.concatenate(column) for column in columns), [name for piece in pieces for name in piece.names]
    )


def _tensor(raw: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(raw) if raw.flags.writeable else np.array(raw))


def _no_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise AssertionError("prediction asks for no loss")
