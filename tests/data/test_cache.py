"""The cache of decoded pictures: what fits stays in memory, and a file is whole or not there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import netwright
from netwright.data import cache
from netwright.data.pictures import Block
from netwright.errors import RunError
from netwright.recipe.schema import Data

SHAPE = (600, 3, 32, 32)  # 1.8 MB
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def options(folder, **more):
    return Data(cache=str(folder), **{"memory_mb": 1, **more})


def blocks(order=range(0, 600, 50), broken=None):
    for start in order:
        yield Block(np.arange(start, start + 50), PIXELS[start : start + 50], broken or {})


def test_what_fits_is_in_memory(tmp_path):
    stored = cache.store(options(tmp_path / "c", memory_mb=2), "x", SHAPE, lambda: "key", blocks)
    assert type(stored.pixels) is np.ndarray
    assert np.array_equal(stored.pixels, PIXELS)
    assert not (tmp_path / "c").exists()


def test_what_does_not_is_mapped_and_found_again(tmp_path):
    first = cache.store(options(tmp_path), "x", SHAPE, lambda: "key", lambda: blocks(broken={7: "bad"}))
    assert isinstance(first.pixels, np.memmap)
    assert not first.pixels.flags.writeable
    assert np.array_equal(first.pixels, PIXELS)

    def never():
        raise AssertionError("it was decoded again")

    again = cache.store(options(tmp_path), "x", SHAPE, lambda: "key", never)
    assert np.array_equal(again.pixels, PIXELS)
    assert again.broken == first.broken == {7: "bad"}
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".npy"]
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["source"] == "x"


def test_blocks_may_come_in_any_order(tmp_path):
    order = [*range(50, 600, 50), 0]
    stored = cache.store(options(tmp_path), "x", SHAPE, lambda: "key", lambda: blocks(order))
    assert np.array_equal(stored.pixels, PIXELS)
    rows = np.random.default_rng(1).permutation(600)

    def scattered():
        for some in np.array_split(rows, 7):
            yield Block(some, PIXELS[some], {})

    stored = cache.store(options(tmp_path), "x", SHAPE, lambda: "scattered", scattered)
    assert np.array_equal(stored.pixels, PIXELS)


def test_other_content_is_another_file(tmp_path):
    cache.store(options(tmp_path), "x", SHAPE, lambda: "one", blocks)
    other = cache.store(options(tmp_path), "x", SHAPE, lambda: "two", lambda: (
        Block(b.rows, 255 - b.pixels, {}) for b in blocks()))  # fmt: skip
    assert np.array_equal(other.pixels, 255 - PIXELS)
    assert len(list(tmp_path.glob("*.npy"))) == 2


@pytest.mark.parametrize("damage", ["cut", "facts", "shape"])
def test_a_damaged_file_is_built_again(tmp_path, damage):
    cache.store(options(tmp_path), "x", SHAPE, lambda: "key", blocks)
    file = next(tmp_path.glob("*.npy"))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "facts":
        file.with_suffix(".json").unlink()
    else:
        np.save(file, PIXELS[:5])
    assert np.array_equal(cache.store(options(tmp_path), "x", SHAPE, lambda: "key", blocks).pixels, PIXELS)


def test_a_failure_leaves_nothing_behind(tmp_path):
    def failing():
        yield from blocks([0, 50])
        raise ValueError("a broken picture")

    with pytest.raises(ValueError, match="a broken picture"):
        cache.store(options(tmp_path), "x", SHAPE, lambda: "key", failing)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupted():
        yield from blocks([0, 50])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store(options(tmp_path), "x", SHAPE, lambda: "key", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_up_when_it_is_old(tmp_path):
    old, young = tmp_path / ".aa-1-bb.partial", tmp_path / ".aa-2-cc.partial"
    for file in (old, young):
        file.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * cache.STALE_SECONDS,) * 2)
    cache.store(options(tmp_path), "x", SHAPE, lambda: "key", blocks)
    assert (old.exists(), young.exists()) == (False, True)


def test_too_little_room_is_said_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(
        RunError, match=r"1 MB free for the decoded pictures of photos, expected 2 MB. Try: --set data.cache="
    ):
        cache.store(options(tmp_path), "photos", SHAPE, lambda: "key", lambda: pytest.fail("decoded"))
    assert list(tmp_path.iterdir()) == []


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from netwright.data import cache
from netwright.data.pictures import Block
from netwright.recipe.schema import Data

folder, pause, number = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
pixels = np.random.default_rng(0).integers(0, 256, (600, 3, 32, 32), np.uint8)

def blocks():
    (folder.parent / f"ready{number}").touch()
    while len(list(folder.parent.glob("ready*"))) < 2:
        time.sleep(0.005)
    for start in range(0, 600, 50):
        time.sleep(pause)
        yield Block(np.arange(start, start + 50), pixels[start:start + 50], {})

stored = cache.store(Data(cache=str(folder), memory_mb=1), "x", pixels.shape, lambda: "key", blocks)
assert isinstance(stored.pixels, np.memmap)
assert np.array_equal(stored.pixels, pixels)
time.sleep(0.3)
assert np.array_equal(stored.pixels, pixels)
"""


def start(*arguments, before=""):
    environment = {**os.environ, "PYTHONPATH": str(Path(netwright.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", before + CHILD, *map(str, arguments)], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_may_build_it_at_once(tmp_path):
    folder = tmp_path / "cache"
    both = [start(folder, 0.005, 0), start(folder, 0.008, 1)]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert sorted(file.suffix for file in folder.iterdir()) == [".json", ".npy"]
    assert np.array_equal(np.load(next(folder.glob("*.npy"))), PIXELS)


@pytest.mark.skipif(os.name == "nt", reason="limits of a file's size are POSIX's")
def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path):
    """A real refusal by the system: no file of the child may grow beyond 1 MB."""
    folder = tmp_path / "cache"
    (tmp_path / "ready1").touch()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    process = start(folder, 0, 0, before=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RunError" in errors
    assert "File too large while the decoded pictures of x were written" in errors
    assert list(folder.iterdir()) == []


def test_the_folder_and_the_limit(monkeypatch, tmp_path):
    monkeypatch.delenv("NETWRIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache.sys, "platform", "linux")
    assert cache.folder(Data()) == tmp_path / "netwright"
    assert cache.folder(Data(cache="/somewhere")) == Path("/somewhere")
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache.folder(Data()).parts[-3:] == ("Library", "Caches", "netwright")
    assert cache.limit_bytes(Data(memory_mb=3)) == 3 << 20
    assert cache.limit_bytes(Data()) > 100 << 20
    monkeypatch.delattr(cache.os, "sysconf", raising=False)
    assert cache.limit_bytes(Data()) == cache.UNKNOWN_MEMORY_MB << 20
