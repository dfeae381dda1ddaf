"""Class folders of pictures, in folders and archives, and how a picture becomes pixels."""

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

import netwright
from netwright.data import archives, folders, pictures
from netwright.errors import DataError, RecipeError
from netwright.preprocess import ImagePreprocess
from netwright.recipe.schema import Data


def noise(height=12, width=16, seed=0, mode="RGB"):
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode=None)


def encoded(image, kind="PNG", **more):
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def put(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def classes(*names, count=3, prefix="", **look):
    return {
        f"{prefix}{name}/{i}.png": encoded(noise(seed=100 * c + i, **look))
        for c, name in enumerate(names)
        for i in range(count)
    }


def one(data, **record):
    """A picture as prediction decodes it, (C, H, W)."""
    return pictures.decode(data, ImagePreprocess(**{"channels": ("rgb",), "size": (12, 16), **record}))


# ------------------------------------------------------------------------------------------------ layout


def test_class_folders(tmp_path):
    put(tmp_path, classes("dog", "cat"))
    put(tmp_path, {"README.txt": b"x", ".hidden/a.png": b"", "cat/.thumb.png": b"", "cat/notes.txt": b""})
    examples = folders.read(Data(), tmp_path)
    part = examples.parts["train"]
    assert examples.classes == ("cat", "dog")
    assert part.names == tuple(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3))
    assert part.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert part.inputs[0].shape == (6, 3, 12, 16)
    assert np.array_equal(part.inputs[0][3].transpose(1, 2, 0), np.asarray(noise(seed=0)))
    assert examples.preprocess == (ImagePreprocess(channels=("rgb",), size=(12, 16)),)


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "validation", "TEST"), ("train", "valid", "test")]
)
@pytest.mark.parametrize("root", ["", "data/set/"])
def test_parts_above_the_classes(tmp_path, words, root):
    for word, count in zip(words, (4, 2, 1)):
        put(tmp_path, classes("ant", "bee", count=count, prefix=f"{root}{word}/"))
    examples = folders.read(Data(), tmp_path)
    assert {name: len(part) for name, part in examples.parts.items()} == {"train": 8, "validation": 4, "test": 2}
    assert examples.parts["test"].targets.tolist() == [0, 1]
    assert examples.parts["validation"].names[0] == f"{root}{words[1]}/ant/0.png"
    assert np.array_equal(examples.parts["test"].inputs[0][1], examples.parts["train"].inputs[0][4])


def test_folders_inside_a_class_belong_to_it(tmp_path):
    put(tmp_path, {**classes("cat/old", "cat/new"), **classes("dog")})
    assert np.bincount(folders.read(Data(), tmp_path).parts["train"].targets).tolist() == [6, 3]


def test_a_class_may_be_called_like_a_part(tmp_path):
    put(tmp_path, classes("bus", "train"))
    assert folders.read(Data(), tmp_path).classes == ("bus", "train")


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere", classes("cat"))
    put(tmp_path / "set", classes("dog"))
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "set" / "dog" / "loop").symlink_to(tmp_path / "set")
    assert np.bincount(folders.read(Data(), tmp_path / "set").parts["train"].targets).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("files", "empty", "message"),
    [
        (
            {"a.png": b"", "b.png": b""},
            [],
            r"got pictures that lie in no class folder, a.png for one, expected a folder",
        ),
        ({"cat/a.png": b"", "b.png": b""}, [], "got pictures beside the class folders, b.png for one"),
        ({"train/a.png": b"", "test/b.png": b""}, [], "no class folder, test/b.png for one"),
        ({"cat/a.txt": b""}, [], "got no pictures, expected a folder of pictures for each class"),
        (
            {f"{part}{kind}/a.png": b"" for part in ("train", "val") for kind in ("", "annot")},
            [],
            r"got train/, val/ beside trainannot/, valannot/",
        ),  # of a segmentation, whose folders are no classes
        ({"cat/a.png": b"", "dog/a.png": b""}, ["yak"], r": yak: got a class folder without pictures"),
        ({"train/cat/a.png": b"", "train/dog/a.png": b""}, ["train/yak"], r"train/yak: got a class folder without"),
        ({"train/cat/a.png": b"", "val/cat/b.png": b"", "valid/cat/c.png": b""}, [], "both val/ and valid/"),
        ({"val/cat/a.png": b"", "test/cat/b.png": b""}, [], "only test/, val/, expected train/"),
    ],
)
def test_a_layout_that_is_no_classification(tmp_path, files, empty, message):
    put(tmp_path, files)
    for name in empty:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match=message):
        folders.read(Data(), tmp_path)


def test_a_class_of_a_part_that_training_lacks(tmp_path):
    put(tmp_path, {**classes("cat", "dog", prefix="train/"), **classes("cat", "dogs", prefix="val/")})
    with pytest.raises(DataError, match=r"validation: got the class 'dogs', which the training part lacks.*'dog'"):
        folders.read(Data(), tmp_path)


# ------------------------------------------------------------------------------------------------ archives


def undated(member):
    member.mtime = 0  # fractions of a second would be headers of their own
    return member


def pack(root, target):
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for file in sorted(root.rglob("*"), reverse=True):
                archive.write(file, file.relative_to(root.parent))
    else:
        mode = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[target.suffix]
        with tarfile.open(target, mode) as archive:
            for file in sorted(root.rglob("*"), reverse=True):
                archive.add(file, str(file.relative_to(root.parent)), recursive=False, filter=undated)
    return target


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.zip"])
@pytest.mark.parametrize("memory", [1, 100])
def test_an_archive_is_read_like_its_folder(tmp_path, name, memory):
    long = "a-long-class-name-" * 8  # more than a header has room for
    root = put(tmp_path / "set", {**classes("cat", long, count=20, height=60, width=50), "notes.txt": b"x" * 3000})
    put(tmp_path / "set", {"__MACOSX/._x.png": b"", ".DS_Store": b""})
    whole = folders.read(Data(), root)
    found = folders.read(Data(memory_mb=memory), pack(root, tmp_path / name))
    assert found.classes == whole.classes
    assert [part.split("/", 1)[1] for part in found.parts["train"].names] == list(whole.parts["train"].names)
    assert np.array_equal(found.parts["train"].inputs[0], whole.parts["train"].inputs[0])
    assert np.array_equal(found.parts["train"].targets, whole.parts["train"].targets)


def tar_of(path, *members):
    with tarfile.open(path, "w") as archive:
        for name, more in members:
            member = tarfile.TarInfo(name)
            for key, value in more.items():
                setattr(member, key, value)
            member.size = 0 if "type" in more else 3
            archive.addfile(member, io.BytesIO(b"abc") if member.size else None)
    return path


@pytest.mark.parametrize(
    "name", ["../cat/a.png", "/etc/cat.png", "set/../../a.png", "..\\a.png", "C:\\a.png", "\\a.png"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_leaves_the_archive(tmp_path, name, kind):
    if kind == "tar":
        path = tar_of(tmp_path / "a.tar", ("set/cat/a.png", {}), (name, {}))
    else:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"abc")
    with pytest.raises(DataError, match="whose path leads out of the archive"):
        folders.read(Data(), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("link", ["/etc/passwd", "../../secret.png", "cat/a.png"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_an_archive_are_refused(tmp_path, link, kind):
    path = tar_of(tmp_path / "a.tar", ("set/cat/a.png", {}), ("set/dog/b.png", {"type": kind, "linkname": link}))
    with pytest.raises(DataError, match=r"the member 'set/dog/b.png', a link to"):
        folders.read(Data(), path)


def test_devices_and_links_in_a_zip_are_refused(tmp_path):
    path = tar_of(tmp_path / "a.tar", ("set/cat/a.png", {"type": tarfile.CHRTYPE}))
    with pytest.raises(DataError, match="neither a plain file nor a folder"):
        folders.read(Data(), path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("cat/a.png")
        member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match="a link"):
        folders.read(Data(), tmp_path / "a.zip")


def test_a_damaged_archive_is_not_a_smaller_data_set(tmp_path):
    """The standard library takes a damaged header for the end of the archive."""
    root = put(tmp_path / "set", classes("cat", "dog", count=5))
    whole = pack(root, tmp_path / "a.tar").read_bytes()
    headers = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    assert len(headers) == 12
    for at, what in ((headers[6], "a header"), (headers[6] + 3, "its middle")):
        (tmp_path / "cut.tar").write_bytes(whole[:at])
        with pytest.raises(DataError, match="damaged or truncated archive"):
            folders.read(Data(), tmp_path / "cut.tar")
        spoiled = bytearray(whole)
        spoiled[at + 20] ^= 0x55
        (tmp_path / "bad.tar").write_bytes(spoiled)
        with pytest.raises(DataError, match="damaged or truncated archive"):
            folders.read(Data(), tmp_path / "bad.tar")
        assert what
    for name in ("a.tar.gz", "a.tar.xz", "a.zip"):
        data = pack(root, tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match="damaged or truncated archive"):
            folders.read(Data(), tmp_path / name)


def test_the_quick_header_is_the_slow_one(tmp_path):
    members = [
        ("a/b.png", {}),
        ("ü" * 40 + ".png", {}),
        ("x" * 100, {}),
        ("y/" * 60 + "z", {}),
        ("n" * 300, {"mtime": 1.5}),
    ]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            for name, more in members[: 4 if form == tarfile.USTAR_FORMAT else 5]:
                member = tarfile.TarInfo(name)
                member.size, member.mtime = 3, more.get("mtime", 7)
                archive.addfile(member, io.BytesIO(name[:3].encode().ljust(3)[:3]))
        with tarfile.open(path) as archive:
            expected = [(m.name, m.size, archive.extractfile(m).read()) for m in archive]
        assert [(e.name, e.size, e.read()) for e in archives.entries(path)] == expected


def test_an_encrypted_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/a.png", b"abc")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="which is encrypted"):
        folders.read(Data(), tmp_path / "a.zip")


# ------------------------------------------------------------------------------------------------ size and channels


def test_pictures_of_one_small_size_keep_it(tmp_path):
    assert folders.read(Data(), put(tmp_path / "a", classes("x", "y", height=64, width=30))).preprocess[0].size == (
        64,
        30,
    )
    assert folders.read(Data(), put(tmp_path / "b", classes("x", "y", height=65, width=30))).preprocess[0].size == (
        64,
        64,
    )
    mixed = {**classes("x"), **classes("y", height=13)}
    assert folders.read(Data(), put(tmp_path / "c", mixed)).preprocess[0].size == (64, 64)
    assert folders.read(Data(size="20x10"), tmp_path / "a").parts["train"].inputs[0].shape == (6, 3, 20, 10)
    with pytest.raises(RecipeError, match="32 or 32x48"):
        folders.read(Data(size="0x5"), tmp_path / "a")


def test_the_test_part_does_not_decide(tmp_path):
    put(tmp_path, {**classes("x", "y", prefix="train/", mode="L"), **classes("x", "y", prefix="test/", height=99)})
    examples = folders.read(Data(), tmp_path)
    assert examples.preprocess == (ImagePreprocess(channels=("grey",), size=(12, 16)),)
    assert examples.parts["test"].inputs[0].shape == (6, 1, 12, 16)


def test_grey_only_if_all_are(tmp_path):
    put(tmp_path, classes("x", "y", mode="L"))
    assert folders.read(Data(), tmp_path).preprocess[0].channels == ("grey",)
    put(tmp_path, {"x/0.png": encoded(noise(mode="LA")), "y/1.png": encoded(noise(mode="L").convert("P"))})
    assert folders.read(Data(), tmp_path).preprocess[0].channels == ("grey",)
    put(tmp_path, {"x/1.png": encoded(noise())})
    examples = folders.read(Data(), tmp_path)
    assert examples.preprocess[0].channels == ("rgb",)
    assert examples.parts["train"].inputs[0].shape[1] == 3
    assert folders.read(Data(channels="grey"), tmp_path).parts["train"].inputs[0].shape[1] == 1


def test_training_examples_rule_over_a_separate_source(tmp_path):
    like = folders.read(Data(channels="grey", size=9), put(tmp_path / "a", classes("cat", "dog")))
    put(tmp_path / "b" / "test", classes("dog", height=40))
    other = folders.read(Data(), tmp_path / "b", like)
    assert (other.classes, other.preprocess) == (like.classes, like.preprocess)
    assert other.parts["test"].targets.tolist() == [1, 1, 1]
    assert other.parts["test"].inputs[0].shape == (3, 1, 9, 9)


# ------------------------------------------------------------------------------------------------ one picture


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}, {"comment": b"hello"}])
def test_the_short_way_for_jpegs_gives_the_same_pixels(mode, more):
    image = noise(mode=mode)
    data = encoded(image, "JPEG", **more)
    assert pictures._plain_jpeg(data) == (12, 16, mode)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(one(data), pixels.transpose(2, 0, 1))
    grey = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert np.array_equal(one(data, channels=("grey",))[0], grey)


def test_the_short_way_is_not_taken_where_more_is_to_be_known():
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encoded(noise(), "JPEG", exif=exif), encoded(noise().convert("CMYK"), "JPEG"), encoded(noise())):
        assert pictures._plain_jpeg(data) is None
    assert pictures._plain_jpeg(encoded(noise(), "JPEG")[:100]) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_is_honoured(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.add.outer(np.arange(48) * 2, np.arange(64)).astype(np.uint8)
    data = encoded(Image.fromarray(ramp).convert("RGB"), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    look = pictures.look(data)
    assert (look.height, look.width) == upright.size[::-1] == ((48, 64) if orientation < 5 else (64, 48))
    found = one(data, size=(look.height, look.width))
    assert np.array_equal(found, np.asarray(upright).transpose(2, 0, 1))
    shrunk = one(data, size=(look.height // 8, look.width // 8))  # by way of a smaller decoding, for JPEG
    assert np.abs(shrunk.astype(int) - found[:, 4::8, 4::8]).mean() < 8


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("L", (2, 2), 7), (7, 7, 7)),
        (Image.new("LA", (2, 2), (9, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (9, 255)), (9, 9, 9)),
        (Image.new("RGBA", (2, 2), (200, 100, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 100, 0, 255)), (200, 100, 0)),
        (Image.new("RGB", (2, 2), (200, 100, 0)).convert("P"), None),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 257 * 40, np.uint16)), (40, 40, 40)),
    ],
)
def test_every_mode_of_png_becomes_eight_bits(image, rgb):
    data = encoded(image)
    expected = rgb or image.convert("RGB").getpixel((0, 0))
    assert one(data, size=(2, 2))[:, 0, 0].tolist() == list(expected)
    grey = one(data, size=(2, 2), channels=("grey",))[:, 0, 0].tolist()
    assert grey == [Image.new("RGB", (1, 1), expected).convert("L").getpixel((0, 0))]


def test_transparent_colours_of_palettes_and_of_rgb_are_white():
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert one(encoded(palette, transparency=1), size=(2, 2))[:, 0, 0].tolist() == [255, 255, 255]
    assert one(encoded(palette, transparency=0), size=(2, 2))[:, 0, 0].tolist() == [10, 20, 30]
    keyed = encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))
    assert one(keyed, size=(2, 2))[:, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "TIFF", "PPM", "PNG", "JPEG"])
def test_every_format(tmp_path, kind):
    suffix = {"JPEG": "jpeg", "TIFF": "tif"}.get(kind, kind.lower())
    image = Image.new("RGB", (8, 6), (250, 120, 10))
    frames = {"save_all": True, "append_images": [Image.new("RGB", (8, 6), "blue")]} if kind == "GIF" else {}
    data = encoded(image, kind, **frames)
    put(tmp_path, {f"a/x.{suffix.upper()}": data, f"b/y.{suffix}": data})
    pixels = folders.read(Data(), tmp_path).parts["train"].inputs[0]
    assert pixels.shape == (2, 3, 6, 8)
    assert np.abs(pixels[0, :, 0, 0].astype(int) - (250, 120, 10)).max() <= 6
    assert np.array_equal(pixels[0], pixels[1])


def test_grey_pnm_of_sixteen_bits(tmp_path):
    data = b"P5 2 1 65535\n" + np.array([[0, 65535]], ">u2").tobytes()
    assert one(data, size=(1, 2), channels=("grey",)).tolist() == [[[0, 255]]]
    assert pictures.look(data).grey


def test_fits():
    ramp = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))  # 60 x 120, darker at the left
    data = encoded(Image.fromarray(ramp))
    squash, crop, pad = (one(data, size=(30, 30), channels=("grey",), fit=fit)[0] for fit in ("squash", "crop", "pad"))
    assert squash[15, 0] < 10
    assert squash[15, -1] > 230
    assert abs(int(crop[15, 0]) - 60) <= 3  # the middle half
    assert abs(int(crop[15, -1]) - 178) <= 3
    assert not pad[:7].any()
    assert not pad[-7:].any()
    assert pad[15, -1] > 230


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_prediction_decodes_as_training_did(tmp_path, fit):
    files = {f"{label}/{i}.jpg": encoded(noise(100 + 7 * i, 150, i), "JPEG") for label in "ab" for i in range(3)}
    examples = folders.read(Data(fit=fit, size="40x24"), put(tmp_path, files))
    part = examples.parts["train"]
    for row, name in enumerate(part.names):
        for source in (tmp_path / name, str(tmp_path / name), files[name]):
            assert np.array_equal(pictures.decode(source, examples.preprocess[0]), part.inputs[0][row])


def test_a_large_jpeg_is_decoded_small_first(monkeypatch):
    data = encoded(Image.effect_noise((1024, 768), 40).resize((64, 48)).resize((1024, 768)), "JPEG")
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (sizes.append(self.size), load(self))[1])
    small = one(data, size=(48, 64), channels=("grey",))
    assert sizes[0] == (128, 96)
    exact = np.asarray(Image.open(io.BytesIO(data)).resize((64, 48), Image.Resampling.BILINEAR))
    assert np.abs(small[0].astype(int) - exact).mean() < 3


# ------------------------------------------------------------------------------------------------ broken pictures


@pytest.fixture
def with_broken(tmp_path):
    files = {f"{label}/{i}.jpg": encoded(noise(40, 40, i), "JPEG") for label in ("cat", "dog") for i in range(4)}
    files["cat/2.jpg"] = files["cat/2.jpg"][:300]
    files["dog/1.jpg"] = b"\xff\xd8\xff not a picture"
    files["dog/3.jpg"] = b""
    return put(tmp_path / "set", files)


@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_picture_is_named(with_broken, tmp_path, packed):
    path = pack(with_broken, tmp_path / "set.tar") if packed else with_broken
    with pytest.raises(
        DataError, match=r"cat/2.jpg: got a broken picture \(.*[Tt]runcated.*Try: .*data.skip_broken=true"
    ):
        folders.read(Data(), path)


@pytest.mark.parametrize("memory", [0, 1])
def test_broken_pictures_are_left_out_on_demand(with_broken, tmp_path, memory):
    options = Data(skip_broken=True, size=256, memory_mb=memory, cache=str(tmp_path / "cache"))
    for _ in range(2):  # the second time from the cache, if there is one
        examples = folders.read(options, with_broken)
        part = examples.parts["train"]
        assert len(part) == 5
        assert [part.name(i) for i in range(5)] == ["cat/0.jpg", "cat/1.jpg", "cat/3.jpg", "dog/0.jpg", "dog/2.jpg"]
        assert part.part_targets().tolist() == [0, 0, 0, 1, 1]
        assert [text.split(":")[0] for text in examples.skipped] == ["cat/2.jpg", "dog/1.jpg", "dog/3.jpg"]
        assert isinstance(part.inputs[0], np.memmap) == bool(memory)
    with pytest.raises(DataError, match=r"cat/2.jpg: got a broken picture"):
        folders.read(Data(size=256, memory_mb=memory, cache=str(tmp_path / "cache")), with_broken)


def test_a_class_of_broken_pictures_only(tmp_path):
    put(tmp_path, {**classes("cat"), "dog/a.png": b"x"})
    with pytest.raises(DataError, match="train/dog: got only broken pictures"):
        folders.read(Data(skip_broken=True), tmp_path)


def test_a_bomb_is_a_broken_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    put(tmp_path, classes("cat", "dog"))
    with pytest.raises(DataError, match="more pixels than any real picture has"):
        folders.read(Data(), tmp_path)


def test_an_unreadable_picture_at_prediction(tmp_path):
    record = ImagePreprocess(channels=("rgb",), size=(8, 8))
    for source in (b"nonsense", tmp_path / "absent.png"):
        with pytest.raises(DataError, match="a broken picture"):
            pictures.decode(source, record)


# ------------------------------------------------------------------------------------------------ the cache


@pytest.mark.parametrize("packed", [False, True])
def test_changed_content_is_noticed_whatever_the_clock_says(tmp_path, packed):
    root = put(tmp_path / "set", {
        f"{label}/{i}.bmp": encoded(noise(200, 200, i), "BMP") for label in "ab" for i in range(6)})  # fmt: skip
    options = Data(size="200x200", memory_mb=1, cache=str(tmp_path / "cache"))

    def pixels():
        return folders.read(options, pack(root, tmp_path / "set.tar") if packed else root).parts["train"].inputs[0]

    first = pixels()
    assert isinstance(first, np.memmap)
    kept = np.array(first)
    file = root / "a" / "3.bmp"
    before = file.stat()
    file.write_bytes(encoded(noise(200, 200, 99), "BMP"))  # as large as before
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = pixels()
    assert np.flatnonzero((second != kept).any(axis=(1, 2, 3))).tolist() == [3]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    file.write_bytes(encoded(noise(200, 200, 3), "BMP"))
    assert np.array_equal(pixels(), kept)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


MEASURE = """
import resource, sys
from pathlib import Path
from netwright.data import folders
from netwright.recipe.schema import Data

def pixels(source, size):
    options = Data(size=size, memory_mb=4, cache=sys.argv[3])
    return folders.read(options, Path(source)).parts["train"].inputs[0]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

pixels(sys.argv[1], 100)
before = peak()
print(pixels(sys.argv[2], 400).nbytes >> 20, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_ten_times_the_limit_needs_memory_near_the_limit(tmp_path, packed):
    data = encoded(Image.new("RGB", (400, 400), (9, 90, 200)), "JPEG")
    root = put(tmp_path / "set", {f"{label}/{i}.jpg": data for label in "ab" for i in range(50)})
    small = put(tmp_path / "small", {f"{label}/{i}.jpg": data for label in "ab" for i in range(2)})
    source = pack(root, tmp_path / "set.tar.gz") if packed else root
    environment = {**os.environ, "PYTHONPATH": str(Path(netwright.__file__).parent.parent)}
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, small, source, tmp_path / "cache"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    decoded, grown = map(int, result.stdout.split())
    assert decoded == 45
    assert grown < 16  # 4 MB of blocks, the pictures being decoded, and what the allocator keeps


# ------------------------------------------------------------------------------------------------ real data


def test_photos(shared):
    examples = folders.read(Data(), shared / "photos" / "hymenoptera_256.tar")
    assert examples.classes == ("ants", "bees")
    assert np.bincount(examples.parts["train"].targets).tolist() == [123, 121]
    assert np.bincount(examples.parts["validation"].targets).tolist() == [70, 83]
    assert examples.parts["train"].inputs[0].shape == (244, 3, 64, 64)


def test_gzip_of_one_picture_is_no_archive(tmp_path):
    (tmp_path / "a.png.gz").write_bytes(gzip.compress(encoded(noise())))
    assert not archives.is_archive(tmp_path / "a.png.gz")
