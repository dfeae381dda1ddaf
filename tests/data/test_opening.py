"""Opening a source: what it is, how it is split, checked and measured."""

import csv
import dataclasses
import gzip
import io
import pickle
import struct
import tarfile
import wave
import zipfile

import numpy as np
import pytest
from PIL import Image

from netwright.data import opening
from netwright.data.examples import Examples, Part, facts
from netwright.data.opening import detect, finish, open_source
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess
from netwright.recipe.schema import Data


def png(seed=0, size=(6, 5), mode="RGB"):
    shape = size if mode == "L" else (*size, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def photos(root, *labels, count=10, prefix="", **look):
    return put(root, {f"{prefix}{label}/{i}.png": png(i, **look) for label in labels for i in range(count)})


def idx(array):
    return struct.pack(">2xBB", 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_like(root, count=40, test=True):
    parts = {"train": count} | ({"t10k": 10} if test else {})
    for part, number in parts.items():
        pixels = np.random.default_rng(number).integers(0, 256, (number, 8, 8), np.uint8)
        labels = (np.arange(number) % 10).astype(np.uint8)
        put(
            root, {f"{part}-images-idx3-ubyte.gz": gzip.compress(idx(pixels)), f"{part}-labels-idx1-ubyte": idx(labels)}
        )
    return root


def cifar_batch(count=20, seed=0):
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)
    return pickle.dumps({b"data": data, b"labels": [i % 10 for i in range(count)]}, 2)


def wav():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), y=np.arange(20) % 2)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def table(rows=30):
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b", "kind"], *([i, i * 0.5, "xy"[i % 2]] for i in range(rows))])
    return text.getvalue().encode()


def tar(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sizes(examples):
    return {name: len(part) for name, part in examples.parts.items()}


# ------------------------------------------------------------------------------------------------ what it is

PAIR = idx(np.zeros((4, 2, 2), np.uint8))
FOLDER = {"set/cat/a.png": png(), "set/dog/b.png": png()}
SOUNDS = {"set/cat/a.wav": wav(), "set/dog/b.wav": wav()}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PAIR, "idx"),
        (gzip.compress(PAIR), "idx"),
        (cifar_batch(), "cifar"),
        (bytes(3073 * 4), "cifar"),
        (npy(np.zeros(3)), "array"),
        (npz(), "array"),
        (table(), "table"),
        (gzip.compress(table()), "table"),
        (b"PAR1" + bytes(50), "table"),
        (wav(), "sound"),
        (tar(FOLDER), "folder"),
        (tar(FOLDER, "w"), "folder"),
        (tar(FOLDER, "w:xz"), "folder"),
        (zipped(FOLDER), "folder"),
        (tar(SOUNDS), "sound"),
        (tar({"cifar/test_batch": cifar_batch(), "cifar/readme.html": b"x"}), "cifar"),
        (tar({"cifar-100-python/meta": b"x", "cifar-100-python/train": b"y"}), "cifar"),
        ("a,b\n1,é\n2,ü\n".encode("utf-16"), "table"),  # as spreadsheets write it
        (b"the old man and the sea " * 1000, "text"),  # on one line
        (b"The old man, and the sea.\nHe was old.\n\nThe sea, the old sea\n" * 20, "text"),
    ],
)
def test_a_file_is_known_by_its_content_not_its_name(tmp_path, content, kind):
    for name in ("data", "x.bin", "y.data"):
        (tmp_path / name).write_bytes(content)
        assert detect(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"train-images-idx3-ubyte": PAIR, "train-labels-idx1-ubyte": PAIR, "preview.png": png()}, "idx"),
        ({"data_batch_1": b"", "batches.meta": b""}, "cifar"),
        ({"cifar-100-python/train": b"", "cifar-100-python/meta": b""}, "cifar"),
        ({"x.npy": npy(np.zeros(3)), "y.npy": npy(np.zeros(3))}, "array"),
        ({"train/cat/a.jpg": b"", "train/dog/b.jpg": b"", "labels.csv": b"a,b"}, "folder"),
        ({"0_george_0.wav": b"", "cover.png": b"", "1_george_0.wav": b""}, "sound"),
        ({"train/x/a.png": b"", "train/meta": b""}, "folder"),
    ],
)
def test_a_folder_is_known_by_what_lies_in_it(tmp_path, files, kind):
    assert detect(put(tmp_path, files)) == kind


def test_what_is_not_known_says_what_is(tmp_path):
    with pytest.raises(
        DataError, match=r"got an empty folder, expected IDX or CIFAR files, class folders.*netwright list sources"
    ):
        detect(tmp_path)
    put(tmp_path, {"a.docx": b"\0\1\2", "b.txt": b"", "set/x.pdf": b""})
    with pytest.raises(DataError, match=r"got a folder with a.docx, b.txt, set"):
        detect(tmp_path)
    with pytest.raises(DataError, match="a format that is not known"):
        detect(tmp_path / "a.docx")
    with pytest.raises(DataError, match="an empty file"):
        detect(tmp_path / "b.txt")
    put(tmp_path, {"paper": b"%PDF-1.7\n\0\1"})
    with pytest.raises(DataError, match="got a PDF"):
        detect(tmp_path / "paper")
    put(tmp_path, {"c.png": png()})
    with pytest.raises(DataError, match="a single picture, expected a folder of pictures for each class"):
        detect(tmp_path / "c.png")
    put(tmp_path, {"train-images-idx3-ubyte.gz": b"\x1f\x8bxx"})
    with pytest.raises(DataError, match="damaged gzip data"):
        open_source(Data(source=str(tmp_path / "train-images-idx3-ubyte.gz")))


def test_a_folder_around_a_source_leads_to_the_largest(tmp_path):
    rows = "".join(f"{number},{number % 2}\n" for number in range(300)).encode()
    files = {"README": b"What these are, and where they come from. " * 5, "small.csv": b"x,y\n1,2\n3,4\n"}
    put(tmp_path, {**files, "large.csv.gz": gzip.compress(rows), "larger.bin": bytes(5000)})
    with pytest.raises(DataError, match="a folder with README, ") as caught:
        detect(tmp_path)
    assert caught.value.suggestion == str(tmp_path / "large.csv.gz")
    assert len(open_source(Data(source=caught.value.suggestion, validation=0)).parts["train"]) == 300


def test_an_unknown_source_offers_the_nearest(tmp_path):
    with pytest.raises(
        DataError, match=r"data.source: got 'digts', which does not exist, expected digits.*Try: digits"
    ):
        open_source(Data(source="digts"))
    put(tmp_path, {"photos/a": b""})
    with pytest.raises(DataError, match=r"Try: .*photos"):
        open_source(Data(source=str(tmp_path / "photo")))


def test_the_format_may_be_told(tmp_path):
    photos(tmp_path, "cat", "dog")
    assert open_source(Data(source=str(tmp_path), format="folder")).kind == "image"
    with pytest.raises(DataError, match="without IDX files"):
        open_source(Data(source=str(tmp_path), format="idx"))
    with pytest.raises(DataError, match="digits for"):
        open_source(Data(source=str(tmp_path), format="digits"))
    with pytest.raises(DataError, match="handed over in Python"):
        open_source(Data(source=str(tmp_path), format="python"))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("a.csv", table(), "table"), ("a.npz", npz(), "array"), ("a.tar", tar(SOUNDS), "series")],
)
def test_the_other_readers_are_reached(tmp_path, name, content, kind):
    put(tmp_path, {name: content})
    examples = open_source(Data(source=str(tmp_path / name), validation=0))
    assert examples.kind == kind
    assert list(examples.parts) == ["train"]


# ------------------------------------------------------------------------------------------------ parts


def test_digits_are_split_in_three():
    examples = open_source(Data())
    assert sizes(examples) == {"train": 1294, "validation": 144, "test": 359}
    rows = np.concatenate([part.rows for part in examples.parts.values()])
    assert np.array_equal(np.sort(rows), np.arange(1797))
    assert facts(examples).examples == 1294
    assert sizes(open_source(Data(test=0, validation=0))) == {"train": 1797}


def test_the_parts_of_the_source_are_taken(tmp_path):
    mnist_like(tmp_path / "a")
    assert sizes(open_source(Data(source=str(tmp_path / "a")))) == {"train": 36, "validation": 4, "test": 10}
    photos(photos(tmp_path / "b", "x", "y", prefix="train/"), "x", "y", prefix="val/", count=3)
    assert sizes(open_source(Data(source=str(tmp_path / "b")))) == {"train": 20, "validation": 6}


def test_a_share_wins_over_the_parts_of_the_source_and_zero_leaves_them_out(tmp_path):
    source = str(mnist_like(tmp_path))
    assert sizes(open_source(Data(source=source, test=0.25, validation=0.5))) == {
        "train": 15,
        "validation": 15,
        "test": 10,
    }
    assert sizes(open_source(Data(source=source, test=0, validation=0))) == {"train": 40}
    assert sizes(open_source(Data(source=source, test="0.25", validation="0"))) == {"train": 30, "test": 10}


def test_splitting_copies_nothing_and_follows_its_seed():
    first, again = open_source(Data()), open_source(Data())
    other = open_source(Data(split_seed=1))
    assert first.parts["train"].inputs[0] is first.parts["test"].inputs[0]
    assert np.array_equal(first.parts["test"].rows, again.parts["test"].rows)
    assert not np.array_equal(first.parts["test"].rows, other.parts["test"].rows)


def test_a_limit_is_stratified_and_leaves_the_other_parts_alone():
    whole, part = open_source(Data()), open_source(Data(limit=100))
    assert np.bincount(part.parts["train"].part_targets()).tolist() == [10] * 10
    assert np.array_equal(part.parts["test"].rows, whole.parts["test"].rows)
    assert set(part.parts["train"].rows) <= set(whole.parts["train"].rows)
    assert sizes(open_source(Data(limit=5000)))["train"] == 1294


def test_parts_from_elsewhere(tmp_path):
    photos(tmp_path / "train", "cat", "dog", "emu")
    photos(tmp_path / "more", "dog", "emu", count=2, size=(20, 30))
    put(tmp_path, {"t.tar": tar({"t/test/emu/a.png": png(3), "t/val/dog/b.png": png(4)})})
    examples = open_source(
        Data(source=str(tmp_path / "train"), validation=str(tmp_path / "more"), test=str(tmp_path / "t.tar"))
    )
    assert sizes(examples) == {"train": 30, "validation": 4, "test": 1}
    assert examples.parts["validation"].targets.tolist() == [1, 1, 2, 2]
    assert examples.parts["validation"].inputs[0].shape == (4, 3, 6, 5)
    assert examples.parts["test"].targets.tolist() == [2]
    with pytest.raises(DataError, match=r"data.test: got '.*nowhere', which does not exist"):
        open_source(Data(source=str(tmp_path / "train"), test=str(tmp_path / "nowhere")))


def test_a_test_part_of_another_format(tmp_path):
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    photos(tmp_path / "jpeg", *names, prefix="train/", count=2, size=(32, 32))
    put(
        tmp_path / "py", {"test_batch": cifar_batch(20), "batches.meta": pickle.dumps({b"label_names": names[::-1]}, 2)}
    )
    examples = open_source(Data(source=str(tmp_path / "jpeg"), test=str(tmp_path / "py"), validation=0))
    assert examples.classes == tuple(names)
    assert examples.parts["test"].targets.tolist() == [9 - i % 10 for i in range(20)]  # matched by name
    (tmp_path / "py" / "batches.meta").unlink()
    examples = open_source(Data(source=str(tmp_path / "jpeg"), test=str(tmp_path / "py"), validation=0))
    assert examples.parts["test"].targets.tolist() == [i % 10 for i in range(20)]  # no names: by number
    photos(tmp_path / "two", "cat", "dog")
    with pytest.raises(DataError, match="10 classes, expected the training part's 2: cat, dog"):
        open_source(Data(source=str(tmp_path / "two"), test=str(tmp_path / "py")))


def test_a_part_of_another_kind(tmp_path):
    photos(tmp_path / "a", "cat", "dog")
    put(tmp_path, {"a.csv": table()})
    with pytest.raises(DataError):
        open_source(Data(source=str(tmp_path / "a"), test=str(tmp_path / "a.csv")))
    with pytest.raises(DataError, match="pictures, expected the training part's kind, table"):
        open_source(Data(source=str(tmp_path / "a.csv"), test=str(tmp_path / "a")))


@pytest.mark.parametrize(
    ("split", "share"), [("validation", 1.0), ("test", 1.0), ("test", "1.5"), ("validation", "-1")]
)
def test_a_share_that_leaves_nothing_to_train_on(split, share):
    with pytest.raises(DataError, match=rf"data.{split}: got the share {share}, expected 0 or more and less than 1"):
        open_source(Data(**{split: share}))


def test_a_share_of_no_example(tmp_path):
    photos(tmp_path, "cat", "dog", count=2)
    with pytest.raises(
        DataError, match=r"data.validation: got a share of 0.1, which is none of 4 examples.*or 0 to do"
    ):
        open_source(Data(source=str(tmp_path), validation=0.1))
    assert sizes(open_source(Data(source=str(tmp_path)))) == {"train": 4}  # nobody asked for it


# ------------------------------------------------------------------------------------------------ checks


def arrays(count=20, classes=("a", "b"), targets=None, **more):
    values = np.random.default_rng(0).normal(3, 2, (count, 4)).astype(np.float32)
    targets = (np.arange(count) % 2).astype(np.int64) if targets is None else targets
    return Examples(
        kind="array", task="classification", parts={"train": Part((values,), targets)}, classes=classes,
        preprocess=(ArrayPreprocess(shape=(4,)),), **more,
    )  # fmt: skip


def test_one_class_is_no_classification(tmp_path):
    photos(tmp_path, "cat")
    with pytest.raises(DataError, match=r"one class only, 'cat', expected two or more"):
        open_source(Data(source=str(tmp_path)))


def test_one_class_of_a_table_leads_to_another_column_and_of_numbers_to_values(tmp_path):
    for cell, way in (("low", "--target COLUMN"), ("7", "--set data.task=regression")):
        (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{row}.5,{cell}\n" for row in range(30)))
        with pytest.raises(DataError, match="one class only") as caught:
            open_source(Data(source=str(tmp_path / "t.csv"), task="classification"))
        assert caught.value.suggestion.startswith(way)


def test_a_table_by_its_name_is_none_by_its_running_text(tmp_path):
    """A few ragged rows are a fault of the table, with its line; as a nameless file they would read as prose."""
    ragged = b"a,b,c\n1,2,3\n1,2\n3,4,5\n"
    put(tmp_path, {"t.csv": ragged, "t.csv.gz": gzip.compress(ragged)})
    for name in ("t.csv", "t.csv.gz"):
        with pytest.raises(DataError, match="line 3: got 2 cells"):
            open_source(Data(source=str(tmp_path / name)))


@pytest.mark.parametrize(
    "content", [b'{"images": [{"id": 1}]}', b'[{"image_id": 42, "bbox": [1, 2]}]', b"[[1, 2], [3]]"]
)
def test_json_is_named(tmp_path, content):
    for written in (content, b"\n " + content + b" " * 200_000):
        (tmp_path / "found.json").write_bytes(written)
        with pytest.raises(DataError, match="text that looks like JSON"):
            detect(tmp_path / "found.json")


def test_a_damaged_zip_archive_and_one_whose_paths_lead_out_are_called_so(tmp_path):
    (tmp_path / "cut.zip").write_bytes(zipped(FOLDER)[:-30])
    with pytest.raises(DataError, match="damaged or truncated zip"):
        detect(tmp_path / "cut.zip")
    (tmp_path / "slip.zip").write_bytes(zipped({f"../{name}": content for name, content in FOLDER.items()}))
    with pytest.raises(DataError, match="whose path leads out of the archive"):
        detect(tmp_path / "slip.zip")


@pytest.mark.parametrize("start", [b"[Enter the ghost]", b"[[Elsinore]] is a castle", b"{Exit}"])
def test_a_text_that_begins_with_a_bracket_is_a_text(tmp_path, start):
    (tmp_path / "play").write_bytes((start + b"\nI am thy father's spirit, doomed to walk the night.\n") * 30)
    assert detect(tmp_path / "play") == "text"


def test_labels_out_of_range_are_counted():
    targets = np.array([0, 1, 5, -1] * 5, np.int64)
    with pytest.raises(DataError, match=r"train part: #2: got the label 5 \(and 9 more out of range\), expected 0…1"):
        finish(arrays(targets=targets), Data())


def test_parts_that_are_empty_or_of_another_shape():
    empty = arrays()
    with pytest.raises(DataError, match="no training examples"):
        finish(dataclasses.replace(empty, parts={"train": empty.parts["train"].take(np.arange(0))}), Data())
    with pytest.raises(DataError, match=r"data.test: got no examples"):
        finish(
            dataclasses.replace(empty, parts={**empty.parts, "test": empty.parts["train"].take(np.arange(0))}), Data()
        )
    other = Part((np.zeros((3, 5), np.float32),), np.zeros(3, np.int64))
    with pytest.raises(DataError, match="test part: got examples of shape 5, expected 4"):
        finish(dataclasses.replace(empty, parts={**empty.parts, "test": other}), Data())


def test_a_path_means_nothing_for_examples_in_python(tmp_path):
    with pytest.raises(DataError, match=r"data.test: got the path .*, expected examples in Python"):
        finish(arrays(), Data(test=str(tmp_path)))


def test_examples_from_python_share_the_last_steps():
    examples = finish(arrays(100), Data(limit=20))
    assert sizes(examples) == {"train": 20, "validation": 10}
    assert examples.preprocess[0].mean


def test_another_task(tmp_path):
    by_value = finish(arrays(classes=("2", "10")), Data(task="regression"))
    assert (by_value.task, by_value.outputs, by_value.classes) == ("regression", 1, ())
    assert set(by_value.parts["train"].targets.ravel()) == {2.0, 10.0}
    several = finish(arrays(), Data(task="multi-label"))
    assert several.parts["train"].targets[:2].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match="regression for the classes a, b, expected classes that are numbers"):
        finish(arrays(), Data(task="regression"))
    with pytest.raises(DataError, match="classification for targets of regression"):
        finish(by_value, Data(task="classification"))


# ------------------------------------------------------------------------------------------------ statistics


def test_statistics_are_those_of_the_training_part_alone():
    examples = open_source(Data())
    part = examples.parts["train"]
    record = examples.preprocess[0]
    assert isinstance(record, ImagePreprocess)
    own = part.inputs[0][part.rows] / 255
    assert record.mean == pytest.approx((own.mean(),), abs=1e-6)
    assert record.std == pytest.approx((own.std(),), abs=1e-6)
    assert abs(record.mean[0] - (part.inputs[0] / 255).mean()) > 1e-6
    assert open_source(Data(normalize=False)).preprocess[0].mean == ()


def test_broken_pictures_have_no_part_in_them(tmp_path):
    photos(tmp_path, "cat", "dog", count=6)
    whole = open_source(Data(source=str(tmp_path), validation=0))
    put(tmp_path, {"cat/9.png": b"x"})
    found = open_source(Data(source=str(tmp_path), validation=0, skip_broken=True))
    assert found.preprocess == whole.preprocess
    assert len(found.skipped) == 1


def test_nothing_but_what_is_needed_is_imported():
    assert "netwright.data.sounds" not in vars(opening)


# ------------------------------------------------------------------------------------------------ real data


def test_a_folder_of_pictures_with_the_published_test_batch(shared, tmp_path):
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    photos(tmp_path, *names, count=2, size=(32, 32))
    batch = shared / "cifar10" / "cifar-10-batches-py_test_batch_only.tar.xz"
    examples = open_source(Data(source=str(tmp_path), test=str(batch), validation=0))
    assert sizes(examples) == {"train": 20, "test": 10000}
    part = examples.parts["test"]
    assert np.bincount(part.targets).tolist() == [1000] * 10
    means = part.inputs[0].mean((0, 2, 3), dtype=np.float64) / 255
    assert means == pytest.approx([0.4942, 0.4851, 0.4504], abs=1e-4)  # of the published test set


def test_mnist(shared):
    examples = open_source(Data(source=str(shared / "mnist"), limit=1000))
    assert sizes(examples) == {"train": 1000, "validation": 6000, "test": 10000}
    assert examples.preprocess[0].mean == pytest.approx((0.1307,), abs=0.005)
