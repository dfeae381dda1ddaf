"""CIFAR's forms, and pickles that would like to do more than to be read."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from netwright.data import cifar
from netwright.errors import DataError
from netwright.recipe.schema import Data

NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def python_batch(count, seed=0, key=b"labels", classes=10, protocol=2):
    labels = [(i + seed) % classes for i in range(count)]
    named = {b"batch_label": b"x", b"note": b""}
    return pickle.dumps({b"data": pictures(count, seed), key: labels, **named}, protocol)


def ten(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number in (10, 2, 1):  # the tenth comes last, not after the first
        (folder / f"data_batch_{number}").write_bytes(python_batch(12, number))
    (folder / "test_batch").write_bytes(python_batch(10, 77))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": NAMES, b"num_vis": 3072}, 2))
    return folder


def check_ten(examples):
    train, test = examples.parts["train"], examples.parts["test"]
    expected = np.concatenate([pictures(12, seed) for seed in (1, 2, 10)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(train.inputs[0], expected)
    assert train.targets.tolist() == [(i + seed) % 10 for seed in (1, 2, 10) for i in range(12)]
    assert np.array_equal(test.inputs[0], pictures(10, 77).reshape(-1, 3, 32, 32))
    assert examples.classes == tuple(name.decode() for name in NAMES)


def test_python_batches_in_a_folder(tmp_path):
    check_ten(cifar.read(Data(), ten(tmp_path)))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_python_batches_in_an_archive(tmp_path, mode):
    ten(tmp_path / "cifar-10-batches-py")
    with tarfile.open(tmp_path / "cifar.tar", mode) as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    check_ten(cifar.read(Data(), tmp_path / "cifar.tar"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cifar-10-batches-py", "cifar.tar"]


def test_python_batches_one_folder_down(tmp_path):
    ten(tmp_path / "cifar-10-batches-py")
    check_ten(cifar.read(Data(), tmp_path))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_that_python_3_would_write(tmp_path, protocol):
    (tmp_path / "one").write_bytes(python_batch(5, protocol=protocol))
    part = cifar.read(Data(), tmp_path / "one").parts["train"]
    assert np.array_equal(part.inputs[0], pictures(5).reshape(-1, 3, 32, 32))
    assert part.targets.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_both_homes_of_numpys_functions(package):
    data = python_batch(2).replace(b"numpy._core.multiarray", package.encode() + b".multiarray")
    assert len(cifar.read_batch(data, "batch").labels) == 2


def test_the_fine_labels_of_cifar_100(tmp_path):
    (tmp_path / "train").write_bytes(python_batch(120, 3, b"fine_labels", 100))
    (tmp_path / "test").write_bytes(python_batch(100, 0, b"fine_labels", 100))
    names = [f"class{i:02}".encode() for i in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names, b"coarse_label_names": [b"x"]}, 2))
    examples = cifar.read(Data(), tmp_path)
    assert len(examples.classes) == 100
    assert examples.classes[7] == "class07"
    assert examples.parts["train"].targets[0] == 3


def binary(count, labels, seed=0):
    head = [np.array([[i % limit] for i in range(count)], np.uint8) for limit in labels]
    return np.concatenate([*head, pictures(count, seed)], axis=1).tobytes()


def test_the_binary_forms(tmp_path):
    for number in (1, 2):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(binary(20, [10], number))
    (tmp_path / "test_batch.bin").write_bytes(binary(10, [10]))
    (tmp_path / "batches.meta.txt").write_text("\n".join(name.decode() for name in NAMES) + "\n\n")
    examples = cifar.read(Data(), tmp_path)
    assert np.array_equal(examples.parts["train"].inputs[0][20:], pictures(20, 2).reshape(-1, 3, 32, 32))
    assert examples.classes[3] == "cat"
    (tmp_path / "hundred").mkdir()
    (tmp_path / "hundred" / "train.bin").write_bytes(binary(100, [20, 100]))
    (tmp_path / "hundred" / "fine_label_names.txt").write_text("\n".join(f"c{i}" for i in range(100)))
    examples = cifar.read(Data(), tmp_path / "hundred")
    assert examples.parts["train"].targets.tolist() == list(range(100))
    assert examples.classes[99] == "c99"


def test_a_test_batch_alone_is_what_there_is_to_train_on(tmp_path):
    (tmp_path / "test_batch").write_bytes(python_batch(10))
    examples = cifar.read(Data(), tmp_path)
    assert list(examples.parts) == ["train"]
    assert examples.classes == tuple("0123456789")


def test_classes_of_the_training_part_rule(tmp_path):
    like = cifar.read(Data(), ten(tmp_path))
    order = tuple(reversed(like.classes))
    like = type(like)(**{**like.__dict__, "classes": order})
    other = cifar.read(Data(), tmp_path, like)
    assert other.classes == order
    assert other.parts["test"].targets[0] == 9 - 7  # the label 77 % 10, counted from the other end


def test_channels_size_and_memory_limit(tmp_path):
    ten(tmp_path / "ten")
    options = Data(size=128, channels="grey", memory_mb=1, cache=str(tmp_path / "cache"))
    first = cifar.read(options, tmp_path / "ten").parts["train"].inputs[0]
    assert first.shape == (36, 1, 128, 128)
    whole = cifar.read(Data(size=200, memory_mb=100), tmp_path / "ten").parts["train"].inputs[0]
    mapped = cifar.read(Data(size=200, memory_mb=1, cache=str(tmp_path / "c")), tmp_path / "ten").parts["train"]
    assert isinstance(mapped.inputs[0], np.memmap)
    assert np.array_equal(mapped.inputs[0], whole)


# ------------------------------------------------------------------------------------------------ damage and malice


@pytest.mark.parametrize(
    "command", ["os.system", "builtins.eval", "numpy.load", "subprocess.Popen", "numpy.ndarray.dump"]
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_pickle_runs_nothing(tmp_path, command, protocol):
    module, _, name = command.partition(".") if command != "numpy.ndarray.dump" else ("numpy", "", "ndarray.dump")
    mark = tmp_path / "it-ran"
    text = f"touch {mark}" if command != "builtins.eval" else f"open({str(mark)!r}, 'w')"
    reference = (
        pickle.GLOBAL + f"{module}\n{name}\n".encode()
        if protocol == 2
        else b"".join(pickle.SHORT_BINUNICODE + bytes([len(s)]) + s.encode() for s in (module, name))
        + pickle.STACK_GLOBAL
    )
    call = reference + pickle.BINUNICODE + len(text).to_bytes(4, "little") + text.encode() + pickle.TUPLE1
    data = bytes([0x80, protocol]) + call + pickle.REDUCE + pickle.STOP
    (tmp_path / "data_batch_1").write_bytes(data)
    with pytest.raises(
        DataError, match=rf"data_batch_1: got a pickle that asks for {module}\.{name}, which was not run"
    ):
        cifar.read(Data(), tmp_path)
    assert not mark.exists()


def test_bytes_of_any_length_are_not_made_for_a_pickle():
    """``bytes(10**9)`` would be as much memory; only the empty ones are asked for by name."""
    for asked in (b"c__builtin__\nbytes\n(I1000000000\ntR.", b"cbuiltins\nbytes\n(I1000000000\ntR."):
        with pytest.raises(DataError, match="pickle"):
            cifar.load_pickle(asked, "batch")


def test_an_object_that_reduces_to_a_call(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it-ran"),)

    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": [0]}, 2))
    with pytest.raises(DataError, match=r"asks for (posix|nt)\.mkdir, which was not run"):
        cifar.read(Data(), tmp_path)
    assert not (tmp_path / "it-ran").exists()


def test_a_pickle_cannot_spoil_the_next_one():
    """BUILD with a slot state sets attributes of whatever is on the stack, here of what stands for _codecs.encode."""
    change = b"(N}X\x07\0\0\0__new__X\x01\0\0\0xst"  # (None, {"__new__": "x"})
    with pytest.raises(DataError, match="without 'data'"):
        cifar.read_batch(b"\x80\x02c_codecs\nencode\n" + change + b"b.", "test_batch")
    data = python_batch(3)
    assert b"_codecs" in data
    assert len(cifar.read_batch(data, "test_batch").labels) == 3


def test_arrays_of_objects_are_refused():
    data = pickle.dumps({b"data": np.array([1, "x"], object), b"labels": [0, 1]}, 2)
    with pytest.raises(DataError, match="damaged pickle"):
        cifar.read_batch(data, "test_batch")


@pytest.mark.parametrize("cut", [1, 100, 3000, -2])
def test_a_truncated_batch(cut):
    with pytest.raises(DataError, match=r"test_batch: got a damaged pickle .*Try: download it again"):
        cifar.read_batch(python_batch(3)[:cut], "test_batch")
    with pytest.raises(DataError, match=r"test_batch.bin: got .* bytes, expected records of 3073 bytes"):
        cifar.read_batch(binary(3, [10])[:cut], "test_batch.bin")


def test_a_pickle_of_something_else():
    for value in ([1, 2], {"weights": 3}):
        with pytest.raises(DataError, match="without 'data', expected a CIFAR batch"):
            cifar.read_batch(pickle.dumps(value, 2), "test_batch")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": pictures(3), "labels": [0, 1]}, "2 labels, expected 3 whole numbers"),
        ({"data": pictures(3), "labels": [0, 1, 10]}, "the label 10 of picture 2, expected 0…9"),
        ({"data": pictures(3)[:, :3000], "labels": [0, 1, 2]}, r"uint8 of shape \(3, 3000\), expected uint8 of shape"),
        ({"data": pictures(3).astype(float), "labels": [0, 1, 2]}, "data: float64"),
        ({"data": pictures(3), "labels": "abc"}, "no list of labels"),
    ],
)
def test_a_batch_that_contradicts_itself(batch, message):
    with pytest.raises(DataError, match=message):
        cifar.read_batch(pickle.dumps(batch, 2), "test_batch")


@pytest.mark.parametrize("name", ["../test_batch", "/tmp/test_batch", "a/../../test_batch"])
def test_a_member_that_leaves_the_archive(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(python_batch(2))
        archive.addfile(member, io.BytesIO(python_batch(2)))
    with pytest.raises(DataError, match="whose path leads out of the archive"):
        cifar.read(Data(), tmp_path / "a.tar")
