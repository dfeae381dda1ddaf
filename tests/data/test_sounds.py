"""WAV files: every width to the bit, places in folders and archives, and what is refused."""

import contextlib
import io
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data import sounds
from netwright.data.sounds import decode, parse, read
from netwright.errors import DataError
from netwright.preprocess import SeriesPreprocess
from netwright.recipe.schema import Data

TONE = np.round(12000 * np.sin(np.arange(400) / 5)).astype(np.int16)


def riff(
    data: bytes, *, tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b""
) -> bytes:
    """A WAV file written by hand from the format's definition."""
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits) + extra
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"LIST\x03\0\0\0abc\0"
    body += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    """The same by the standard library."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def placed(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# ------------------------------------------------------------------------------------------------ one file

values = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(values, st.sampled_from([8, 16, 24, 32]))
def test_pcm_of_every_width_keeps_its_upper_bits(samples: list[int], bits: int) -> None:
    """Against Python's own integers: the sample's value on the scale of 16 bits, rounded down."""
    own = [value >> (32 - bits) for value in samples]
    coded = b"".join(
        struct.pack("<B", value + 128) if bits == 8 else (value % (1 << bits)).to_bytes(bits // 8, "little")
        for value in own
    )
    sound = parse(riff(coded, bits=bits), "x")
    assert sound.samples.dtype == np.int16
    assert sound.samples.tolist() == [value << 8 if bits == 8 else value >> (bits - 16) for value in own]


@pytest.mark.parametrize("bits", [32, 64])
def test_floats_are_scaled_and_clipped(bits: int) -> None:
    coded = np.array([0, 0.5, -1, 1, 3], f"<f{bits // 8}").tobytes()
    assert parse(riff(coded, tag=3, bits=bits), "x").samples.tolist() == [0, 16384, -32768, 32767, 32767]
    with pytest.raises(DataError, match="NaN"):
        parse(riff(np.array([np.nan], "<f4").tobytes(), tag=3, bits=32), "x")


def test_several_channels_become_their_mean() -> None:
    stereo = np.array([[100, 300], [-5, 5], [32767, 32767], [-32768, -32768]], "<i2")
    assert parse(riff(stereo.tobytes(), channels=2), "x").samples.tolist() == [200, 0, 32767, -32768]


def test_the_extensible_format_is_what_it_says_inside() -> None:
    extra = struct.pack("<HHI", 22, 24, 0) + struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    sound = parse(riff(b"\x00\x34\x12", tag=0xFFFE, bits=24, extra=extra), "x")
    assert sound.samples.tolist() == [0x1234]


def test_the_standard_library_agrees() -> None:
    sound = parse(wav(TONE, 11025), "x")
    assert (sound.rate, sound.cut) == (11025, False)
    assert np.array_equal(sound.samples, TONE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"ID3\x04" + b"\0" * 40, "begins with b'ID3"),
        (wav(TONE)[:-100], "700 of 800 bytes of sound"),
        (wav(TONE)[:30], "a truncated file: 30 bytes, expected 36 for its format"),
        (wav(TONE)[:16] + struct.pack("<I", 12) + wav(TONE)[20:32], "a format of 12 bytes"),
        (wav(TONE)[:36], "no sound in the file"),
        (riff(b""), "no samples"),
        (riff(b"\0" * 8, tag=7, bits=8), "format 7 with 8 bits"),
        (riff(b"\0" * 8, channels=0), "without a format"),
    ],
)
def test_broken_files_say_what_is_wrong(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        parse(content, "a/b.wav")
    assert str(caught.value).startswith("a/b.wav: ")


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_bytes_do_more_than_raise_a_data_error(noise: bytes, keep: int) -> None:
    for content in (noise, wav(TONE)[:keep] + noise, b"RIFF\0\0\0\0WAVE" + noise):
        with contextlib.suppress(DataError):
            assert len(parse(content, "x").samples) > 0


def test_an_unknown_length_means_the_rest() -> None:
    content = bytearray(wav(TONE))
    content[40:44] = b"\xff\xff\xff\xff"
    assert np.array_equal(parse(bytes(content), "x").samples, TONE)


# ------------------------------------------------------------------------------------------------ folders and archives

FLAT = {"0_ann_1.wav": wav(TONE), "1_bob_1.wav": wav(TONE[:300]), "0_bob_2.wav": wav(TONE[:200]), "README.md": b"no"}
CLASSES = {"dog/a.wav": wav(TONE), "cat/b.WAV": wav(TONE[:300]), "cat/deep/c.wav": wav(TONE[:200]), ".x/d.wav": b""}
PARTS = {f"{part}/{name}": content for part in ("train", "valid", "test") for name, content in CLASSES.items()}


@pytest.mark.parametrize(
    ("files", "classes", "labels"),
    [
        (FLAT, ("0", "1"), {"0_ann_1.wav": 0, "0_bob_2.wav": 0, "1_bob_1.wav": 1}),
        ({f"recordings/{name}": content for name, content in FLAT.items()}, ("0", "1"), {"recordings/1_bob_1.wav": 1}),
        (CLASSES, ("cat", "dog"), {"dog/a.wav": 1, "cat/b.WAV": 0, "cat/deep/c.wav": 0}),
        ({f"all/{name}": content for name, content in CLASSES.items()}, ("cat", "dog"), {"all/dog/a.wav": 1}),
    ],
)
def test_classes_of_a_folder(
    tmp_path: Path, files: dict[str, bytes], classes: tuple[str, ...], labels: dict[str, int]
) -> None:
    examples = read(Data(), placed(tmp_path, files))
    part = examples.parts["train"]
    assert (examples.classes, len(part)) == (classes, 3)
    found = {part.name(row): int(part.targets[row]) for row in range(3)}
    assert labels.items() <= found.items()
    assert examples.preprocess == (SeriesPreprocess(sample_rate=8000, samples=400),)


def test_every_sound_is_padded_at_its_end(tmp_path: Path) -> None:
    part = read(Data(), placed(tmp_path, FLAT)).parts["train"]
    (raw,) = part.inputs
    assert raw.shape == (3, 1, 400)
    assert raw.dtype == np.int16
    row = part.names.index("0_bob_2.wav")
    assert np.array_equal(raw[row, 0, :200], TONE[:200])
    assert not raw[row, 0, 200:].any()


def test_parts_of_a_folder(tmp_path: Path) -> None:
    examples = read(Data(), placed(tmp_path, PARTS))
    assert {name: len(part) for name, part in examples.parts.items()} == {"train": 3, "validation": 3, "test": 3}
    assert examples.classes == ("cat", "dog")
    for name, folder in (("train", "train/"), ("validation", "valid/"), ("test", "test/")):
        part = examples.parts[name]
        assert all(part.name(row).startswith(folder) for row in range(3))
        assert sorted(part.part_targets().tolist()) == [0, 0, 1]


def packed_tar(folder: Path, files: dict[str, bytes], mode: str = "w:xz") -> Path:
    path = folder / "sounds.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def packed_zip(folder: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / "sounds.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "sounds.zip"


@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
@pytest.mark.parametrize("files", [FLAT, CLASSES, PARTS])
def test_an_archive_is_read_as_its_folder(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], files: dict[str, bytes]
) -> None:
    placed(tmp_path / "folder", files)
    one, other = read(Data(), pack(tmp_path, files)), read(Data(), tmp_path / "folder")
    assert list(one.parts) == list(other.parts)
    for name, part in one.parts.items():
        twin = other.parts[name]
        assert [part.name(row) for row in range(len(part))] == [twin.name(row) for row in range(len(twin))]
        assert np.array_equal(part.part_targets(), twin.part_targets())
        assert np.array_equal(part.inputs[0], twin.inputs[0])


@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
@pytest.mark.parametrize("name", ["../0_out.wav", "/0_out.wav", "a/../../0_out.wav"])
def test_members_that_point_outside_are_refused(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    with pytest.raises(DataError, match="out"):
        read(Data(), pack(tmp_path, {**FLAT, name: wav(TONE)}))
    assert not list(tmp_path.rglob("*out.wav"))


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    for path in (packed_tar(tmp_path, FLAT, "w:gz"), packed_zip(tmp_path, FLAT)):
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(DataError, match=path.name):
            read(Data(), path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no WAV file"),
        ({"a.wav": wav(TONE), "b.wav": wav(TONE)}, "tells no class"),
        ({**FLAT, "x.mp3": b"ID3"}, "a .mp3 file"),
        ({**FLAT, "0_broken.wav": wav(TONE)[:-10]}, "0_broken.wav: got 790 of 800"),
        ({"train/a/1.wav": wav(TONE), "val/b/1.wav": wav(TONE)}, "the class 'b', which training has not"),
        ({"train/a/1.wav": wav(TONE), "more/b/1.wav": wav(TONE)}, "outside train, val and test"),
    ],
)
def test_what_a_folder_lacks(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(Data(), placed(tmp_path, files))


def test_broken_files_are_left_out_if_asked(tmp_path: Path) -> None:
    files = {**FLAT, "0_broken.wav": wav(TONE)[:-10], "1_x.mp3": b"", "_noise_/n.wav": wav(TONE)}
    examples = read(Data(skip_broken=True), placed(tmp_path, files))
    assert len(examples.parts["train"]) == 3
    text = " ".join(examples.skipped)
    assert all(word in text for word in ("0_broken.wav", "790 of 800", "1_x.mp3", "_noise_: 1 file left out"))


def test_a_link_back_up_does_not_loop(tmp_path: Path) -> None:
    placed(tmp_path, CLASSES)
    (tmp_path / "dog" / "again").symlink_to(tmp_path)
    assert len(read(Data(), tmp_path).parts["train"]) == 3


# ------------------------------------------------------------------------------------------------ rate and length


def test_rates_become_one(tmp_path: Path) -> None:
    """A tone keeps its frequency: the spectrum's peak is where it was, whatever the rate of the file."""
    files = {f"{name}_x.wav": wav(np.round(9000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)), rate)
             for name, rate in (("a", 8000), ("b", 44100), ("c", 22050))}  # fmt: skip
    examples = read(Data(), placed(tmp_path, files))
    (record,) = examples.preprocess
    assert record == SeriesPreprocess(sample_rate=8000, samples=8000)
    for sound in examples.parts["train"].inputs[0][:, 0]:
        assert int(np.abs(np.fft.rfft(sound)).argmax()) == 440
    (record,) = read(Data(sample_rate=4000, seconds=0.5), tmp_path).preprocess
    assert record == SeriesPreprocess(sample_rate=4000, samples=2000)


def test_prediction_decodes_as_training_did(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = {f"{i % 2}_{i}.wav": wav(rng.integers(-9000, 9000, 3000 + 500 * i), 8000 if i else 11025) for i in range(6)}
    placed(tmp_path, files)
    for options in (Data(), Data(seconds=0.2), Data(sample_rate=6000, seconds=0.3)):
        examples = read(options, tmp_path)
        (record,) = examples.preprocess
        assert isinstance(record, SeriesPreprocess)
        part = examples.parts["train"]
        for row, name in enumerate(part.names):
            assert np.array_equal(decode(tmp_path / name, record), part.inputs[0][row]), name
            assert np.array_equal(decode(files[name], record), part.inputs[0][row])
        again = read(options, tmp_path, examples)
        assert np.array_equal(again.parts["train"].inputs[0], part.inputs[0])


def test_one_long_recording_does_not_pad_all_others(tmp_path: Path) -> None:
    files = {f"{i % 2}_{i}.wav": wav(TONE[:100]) for i in range(199)} | {"0_long.wav": wav(np.tile(TONE, 20))}
    examples = read(Data(), placed(tmp_path, files))
    assert examples.preprocess == (SeriesPreprocess(sample_rate=8000, samples=100),)
    assert "the end of 1 sound is cut off" in examples.skipped[0]
    assert read(Data(seconds=1.0), tmp_path).preprocess == (SeriesPreprocess(sample_rate=8000, samples=8000),)


def test_a_sound_that_is_cut_ends_as_if_it_went_on(tmp_path: Path) -> None:
    """Decoding only what is needed does not show in the last samples, though a filter looks ahead of them."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 40_000)
    placed(tmp_path, {f"{i % 2}_{i}.wav": wav(TONE[:100]) for i in range(199)} | {"0_x.wav": wav(noise, 11025)})
    examples = read(Data(), tmp_path)
    (record,) = examples.preprocess
    assert isinstance(record, SeriesPreprocess)
    row = examples.parts["train"].names.index("0_x.wav")
    assert np.array_equal(decode(tmp_path / "0_x.wav", record), examples.parts["train"].inputs[0][row])


def test_even_the_usual_length_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "LONGEST_SECONDS", 0.01)
    examples = read(Data(), placed(tmp_path, FLAT))
    assert examples.preprocess == (SeriesPreprocess(sample_rate=8000, samples=80),)
    assert "the ends of 3 sounds" in examples.skipped[0]


def test_classes_rate_and_length_are_those_of_training(tmp_path: Path) -> None:
    trained = read(Data(), placed(tmp_path / "a", FLAT))
    other = read(Data(), placed(tmp_path / "b", {"1_new.wav": wav(np.tile(TONE, 3), 16000)}), trained)
    assert other.preprocess == trained.preprocess
    assert other.parts["train"].targets.tolist() == [1]
    with pytest.raises(DataError, match="the class '7'"):
        read(Data(), placed(tmp_path / "c", {"7_new.wav": wav(TONE)}), trained)


def test_more_than_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.seconds"):
        read(Data(seconds=1e9), placed(tmp_path, FLAT))


def test_spoken_digits(shared: Path) -> None:
    """The set's own README: 3000 files, 300 a digit, mono 8 kHz; 1148 to 18262 samples."""
    examples = read(Data(seconds=18262 / 8000), shared / "fsdd" / "fsdd_recordings.tar.xz")
    part = examples.parts["train"]
    assert examples.classes == tuple("0123456789")
    assert np.bincount(part.targets.astype(int)).tolist() == [300] * 10
    assert examples.preprocess == (SeriesPreprocess(sample_rate=8000, samples=18262),)
    silent_tail = 18262 - np.argmax(part.inputs[0][:, 0, ::-1] != 0, axis=1)
    assert silent_tail.max() == 18262
    name = "recordings/0_george_10.wav"  # among the first members: the rest need not be unpacked a second time
    with tarfile.open(shared / "fsdd" / "fsdd_recordings.tar.xz") as archive:
        content = archive.extractfile(next(member for member in archive if member.name == name))
        assert content is not None
        with wave.open(content) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    row = part.names.index(name)
    assert part.targets[row] == 0
    assert part.targets[part.names.index("recordings/7_jackson_32.wav")] == 7
    assert np.array_equal(part.inputs[0][row, 0, : len(samples)], samples)
    assert not part.inputs[0][row, 0, len(samples) :].any()
