"""IDX files: what is read, and what is said about a damaged one."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from netwright.data import idx
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess
from netwright.recipe.schema import Data

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    head = struct.pack(">2xBB", CODES[array.dtype.str[1:]], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, array, *, cut=None):
    data = idx_bytes(array)[:cut]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (30, 5, 7), np.uint8)


@pytest.fixture
def labels():
    return (np.arange(30) % 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "targets"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("train_images-idx3-ubyte", "train_labels-idx1-ubyte.gz"),
        ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte"),
    ],
)
def test_the_usual_names_of_a_folder(tmp_path, pixels, labels, images, targets):
    write(tmp_path / images, pixels)
    write(tmp_path / targets, labels)
    write(tmp_path / images.replace("train", "t10k"), pixels[:6])
    write(tmp_path / targets.replace("train", "t10k"), labels[:6])
    examples = idx.read(Data(), tmp_path)
    assert set(examples.parts) == {"train", "test"}
    part = examples.parts["train"]
    assert part.inputs[0].shape == (30, 1, 5, 7)
    assert part.inputs[0].dtype == np.uint8
    assert np.array_equal(part.inputs[0][:, 0], pixels)
    assert np.array_equal(part.targets, labels)
    assert part.targets.dtype == np.int64
    assert examples.classes == ("0", "1", "2")
    assert examples.preprocess == (ImagePreprocess(channels=("grey",), size=(5, 7)),)
    assert np.array_equal(examples.parts["test"].inputs[0][:, 0], pixels[:6])


def test_a_file_finds_its_labels_beside_it(tmp_path, pixels, labels):
    file = write(tmp_path / "My-Images-idx3-ubyte.gz", pixels)
    write(tmp_path / "My-Labels-idx1-ubyte", labels)
    examples = idx.read(Data(), file)
    assert list(examples.parts) == ["train"]
    assert np.array_equal(examples.parts["train"].targets, labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 3), (4, 2, 2, 2)])
def test_every_type_and_number_of_axes(tmp_path, suffix, kind, shape):
    values = (np.arange(np.prod(shape)).reshape(shape) * 3 - 5).astype(kind)
    file = write(tmp_path / f"a-images{suffix}", values)
    assert np.array_equal(idx.read_array(file), values)
    assert idx.read_array(file).dtype.isnative
    write(tmp_path / "a-labels", np.array([0, 1, 1, 0], np.uint8))
    examples = idx.read(Data(), file)
    assert examples.kind == "array"
    record = examples.preprocess[0]
    assert isinstance(record, ArrayPreprocess)
    assert record.shape == (shape[1:] or (1,))
    assert np.array_equal(examples.parts["train"].inputs[0].reshape(shape), values)


@pytest.mark.parametrize("shape", [(4, 3, 6, 5), (4, 6, 5, 3)])
def test_colour_pictures_with_channels_first_or_last(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    file = write(tmp_path / "a-images", values)
    write(tmp_path / "a-labels", np.array([0, 1, 1, 0], np.uint8))
    examples = idx.read(Data(), file)
    assert examples.preprocess == (ImagePreprocess(channels=("rgb",), size=(6, 5)),)
    expected = values if shape[1] == 3 else values.transpose(0, 3, 1, 2)
    assert np.array_equal(examples.parts["train"].inputs[0], expected)


def test_targets_may_be_values_or_several_labels(tmp_path, pixels):
    file = write(tmp_path / "a-images", pixels)
    write(tmp_path / "a-labels", np.linspace(0, 1, 30, dtype=np.float32))
    assert (idx.read(Data(), file).task, idx.read(Data(), file).targets) == ("regression", ("target",))
    write(tmp_path / "a-labels", np.eye(30, 4, dtype=np.uint8))
    assert (idx.read(Data(), file).task, idx.read(Data(), file).outputs) == ("multi-label", 4)


def test_classes_are_the_numbers_that_occur(tmp_path, pixels):
    """EMNIST's letters count from 1; an unused class 0 would be an output that is never right."""
    file = write(tmp_path / "a-images", pixels)
    write(tmp_path / "a-labels", np.repeat([1, 2, 10], 10).astype(np.int32))
    examples = idx.read(Data(), file)
    assert examples.classes == ("1", "2", "10")
    assert np.bincount(examples.parts["train"].targets).tolist() == [10, 10, 10]


def test_options_change_size_and_channels(tmp_path, pixels, labels):
    file = write(tmp_path / "a-images", pixels)
    write(tmp_path / "a-labels", labels)
    part = idx.read(Data(size="10x14", channels="rgb"), file).parts["train"]
    assert part.inputs[0].shape == (30, 3, 10, 14)
    assert np.array_equal(part.inputs[0][:, 0], part.inputs[0][:, 2])


# ------------------------------------------------------------------------------------------------ damage


def test_a_truncated_file(tmp_path, pixels, labels):
    file = write(tmp_path / "a-images", pixels, cut=500)
    write(tmp_path / "a-labels", labels)
    with pytest.raises(DataError, match=r"a-images: got a truncated file: 500 bytes, expected 1066. Try: download"):
        idx.read(Data(), file)
    file = write(tmp_path / "b-images.gz", pixels, cut=500)
    write(tmp_path / "b-labels", labels)
    with pytest.raises(DataError, match=r"b-images.gz: got a truncated file: 500 bytes, expected 1066"):
        idx.read(Data(), file)
    file.write_bytes(gzip.compress(idx_bytes(pixels))[:-300])
    with pytest.raises(DataError, match=rf"truncated.*ends early, behind {file.stat().st_size} bytes, expected 1066"):
        idx.read(Data(), file)
    file.write_bytes(b"\0\0\x08")
    with pytest.raises(DataError, match="first bytes 00 00 08"):
        idx.read(Data(), file)


def test_too_much_is_as_wrong_as_too_little(tmp_path, pixels, labels):
    file = tmp_path / "a-images"
    file.write_bytes(idx_bytes(pixels) + b"x")
    write(tmp_path / "a-labels", labels)
    with pytest.raises(DataError, match=r"1067 bytes, expected 1066 for the shape \(30, 5, 7\)"):
        idx.read(Data(), file)
    (tmp_path / "b-images.gz").write_bytes(gzip.compress(idx_bytes(pixels) + b"x"))
    write(tmp_path / "b-labels", labels)
    with pytest.raises(DataError, match="more than 1066 bytes"):
        idx.read(Data(), tmp_path / "b-images.gz")


def test_a_wrong_magic_number(tmp_path, labels):
    file = tmp_path / "a-images"
    file.write_bytes(b"PNG-or-so" * 20)
    write(tmp_path / "a-labels", labels)
    with pytest.raises(DataError, match=r"first bytes 50 4e 47 2d, expected an IDX file"):
        idx.read(Data(), file)
    file.write_bytes(b"\0\0\x07\x01" + bytes(20))
    with pytest.raises(DataError, match="first bytes 00 00 07 01"):
        idx.read(Data(), file)


def test_corrupt_gzip_data_is_found_by_its_checksum(tmp_path, pixels, labels):
    noise = np.random.default_rng(1).integers(0, 256, (30, 50, 70), np.uint8)
    data = bytearray(gzip.compress(idx_bytes(noise), 1))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a-images.gz").write_bytes(data)
    write(tmp_path / "a-labels", labels)
    with pytest.raises(DataError, match=r"a-images.gz: got (damaged gzip data|a truncated file|more than)"):
        idx.read(Data(), tmp_path / "a-images.gz")
    (tmp_path / "a-images.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(DataError, match="damaged gzip data"):
        idx.read(Data(), tmp_path / "a-images.gz")


def test_a_header_cannot_ask_for_memory_that_the_file_cannot_fill(tmp_path, labels):
    head = struct.pack(">2xBB3I", 8, 3, 4_000_000_000, 1000, 1000)
    for name, data in (("a-images", head + bytes(50)), ("a-images.gz", gzip.compress(head + bytes(50)))):
        (tmp_path / name).write_bytes(data)
        write(tmp_path / "a-labels", labels)
        with pytest.raises(DataError, match=r"truncated|compressed bytes"):
            idx.read(Data(), tmp_path / name)


def test_labels_that_do_not_belong(tmp_path, pixels, labels):
    file = write(tmp_path / "a-images-idx3-ubyte", pixels)
    with pytest.raises(DataError, match="no labels beside it, expected a-labels-idx1-ubyte"):
        idx.read(Data(), file)
    write(tmp_path / "a-labels-idx1-ubyte", labels[:-1])
    with pytest.raises(DataError, match=r"a-labels-idx1-ubyte: got 29 labels, expected 30, one for each image"):
        idx.read(Data(), file)
    write(tmp_path / "a-labels-idx1-ubyte", np.where(labels == 2, -1, labels).astype(np.int8))
    with pytest.raises(DataError, match="the label -1 of example 2"):
        idx.read(Data(), file)
    write(tmp_path / "a-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match="got labels, by its name, expected the images file"):
        idx.read(Data(), tmp_path / "a-labels-idx1-ubyte")


def test_a_folder_with_half_a_part_or_two_sets(tmp_path, pixels, labels):
    write(tmp_path / "train-images-idx3-ubyte", pixels)
    with pytest.raises(DataError, match="train-images-idx3-ubyte without its labels"):
        idx.read(Data(), tmp_path)
    write(tmp_path / "train-labels-idx1-ubyte", labels)
    write(tmp_path / "train-labels-idx1-ubyte.gz", labels)  # the same, packed: the plain one is read
    assert len(idx.read(Data(), tmp_path).parts["train"]) == 30
    write(tmp_path / "other-train-images-idx3-ubyte", pixels)
    with pytest.raises(DataError, match=r"both .*other-train-images-idx3-ubyte"):
        idx.read(Data(), tmp_path)


def test_a_test_file_takes_classes_and_shape_from_training(tmp_path, pixels, labels):
    file = write(tmp_path / "a-images", pixels)
    write(tmp_path / "a-labels", labels)
    like = idx.read(Data(size=12, channels="rgb"), file)
    write(tmp_path / "b-images", pixels[:4])
    write(tmp_path / "b-labels", np.array([2, 2, 1, 1], np.uint8))
    other = idx.read(Data(), tmp_path / "b-images", like)
    assert other.classes == like.classes
    assert other.preprocess == like.preprocess
    assert other.parts["train"].inputs[0].shape == (4, 3, 12, 12)
    assert other.parts["train"].targets.tolist() == [2, 2, 1, 1]
    write(tmp_path / "b-labels", np.array([2, 2, 7, 1], np.uint8))
    with pytest.raises(DataError, match="the class '7', which the training part lacks"):
        idx.read(Data(), tmp_path / "b-images", like)


# ------------------------------------------------------------------------------------------------ memory


def test_gzipped_pictures_are_held_once(tmp_path):
    write(tmp_path / "a-images.gz", np.zeros((2500, 64, 64), np.uint8))
    write(tmp_path / "a-labels", (np.arange(2500) % 2).astype(np.uint8))
    tracemalloc.start()
    examples = idx.read(Data(), tmp_path / "a-images.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert examples.parts["train"].inputs[0].nbytes == 10_240_000
    assert peak < 10_240_000 + 6 * idx.PIECE_BYTES


def test_what_exceeds_the_limit_is_mapped(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (20, 300, 300), np.uint8)
    file = write(tmp_path / "a-images", noise)
    write(tmp_path / "a-labels", (np.arange(20) % 2).astype(np.uint8))
    options = Data(size="300x300", memory_mb=1, cache=str(tmp_path / "cache"))
    part = idx.read(options, file).parts["train"]
    assert isinstance(part.inputs[0], np.memmap)
    assert np.array_equal(part.inputs[0][:, 0], noise)
    assert not (tmp_path / "cache").exists()  # the file itself is mapped
    write(tmp_path / "b-images.gz", noise)
    write(tmp_path / "b-labels", (np.arange(20) % 2).astype(np.uint8))
    part = idx.read(options, tmp_path / "b-images.gz").parts["train"]
    assert isinstance(part.inputs[0], np.memmap)
    assert np.array_equal(part.inputs[0][:, 0], noise)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_mnist(shared):
    examples = idx.read(Data(), shared / "mnist")
    train, test = examples.parts["train"], examples.parts["test"]
    assert np.bincount(train.targets).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train.inputs[0].mean() / 255 == pytest.approx(0.130660, abs=1e-6)
    assert train.inputs[0].std() / 255 == pytest.approx(0.308108, abs=1e-6)
