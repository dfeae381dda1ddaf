"""The durable file operations: whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from netwright import files
from netwright.errors import RunError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.replace_file(path, "old")
    files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["write_bytes", "sync_file", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path = tmp_path / "a.json"
    files.replace_file(path, "old")

    def fails(*arguments: object) -> None:
        raise OSError(number, "planted")

    monkeypatch.setattr(files, step, fails)
    with pytest.raises(OSError if number == errno.EIO else RunError) as caught:
        files.replace_file(path, "new")
    if number == errno.ENOSPC:
        assert "full disk" in str(caught.value)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".000000001.99").mkdir()
    (tmp_path / ".000000001.99" / "weights").write_text("half")
    (tmp_path / ".current.json.99").write_text("half")
    (tmp_path / "000000001").mkdir()
    files.remove_leftovers(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["000000001"]


def test_a_place_that_can_never_be_names_what_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path, blamed in (
        (tmp_path / "file", f"{tmp_path / 'file'} is a file"),
        (tmp_path / "file" / "deep" / "down", f"{tmp_path / 'file'} is a file"),
        (tmp_path / ("x" * 300), f"file name too long in {tmp_path}"),
        (tmp_path / "new" / ("x" * 300), f"file name too long in {tmp_path}"),
        (Path("/proc/x"), "no such file or directory in /proc"),
    ):
        if blamed.endswith("/proc") and not Path("/proc/self").exists():
            continue
        with pytest.raises(RunError) as caught:
            files.require_place(path)
        assert caught.value.where == str(path)
        assert caught.value.got == f"a place that cannot be written ({blamed})"
        assert caught.value.expected
        assert caught.value.suggestion == "--out FOLDER"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_place_that_can_be_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for path in (Path("here"), Path("new/deep"), Path("new/../../out"), Path(), tmp_path):
        files.require_place(path)
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
    assert not (tmp_path.parent / "out").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*arguments: object, **named: object) -> str:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(RunError, match=rf"cannot be written \({os.strerror(number).lower()}\)"):
        files.require_place(tmp_path)
