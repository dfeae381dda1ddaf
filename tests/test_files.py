"""The durable file operations: whole or not at all."""

import errno
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
