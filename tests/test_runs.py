"""The run directory: create, append, read, list; never half-written."""

import errno
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from netwright import files, runs
from netwright.errors import RunError, UsageError
from netwright.recipe import Recipe, override
from netwright.records import Evidence
from netwright.runs import RunDirectory
from netwright.training import recording


def new(folder: Path, name: str = "digits") -> RunDirectory:
    run = RunDirectory(runs.create(folder, name))
    run.write_recipe(override(Recipe(), {"train.epochs": 3}), Recipe())
    return run


def fill(text: str):  # type: ignore[no-untyped-def]
    return lambda folder: (folder / "weights.safetensors").write_text(text)


def _create_many(folder: str) -> list[str]:
    return [runs.create(Path(folder), "same").name for _ in range(10)]


def test_two_processes_that_create_never_get_the_same_directory(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_create_many, [str(tmp_path)] * 2)
    assert len({*first, *second}) == 20


def test_a_name_is_made_safe_for_a_folder(tmp_path: Path) -> None:
    path = runs.create(tmp_path, "../../etc/pass wd")
    assert path.parent == tmp_path
    assert path.name == "etc-pass-wd-0001"


def test_recipes_come_back(tmp_path: Path) -> None:
    run = new(tmp_path)
    assert run.recipe().train.epochs == 3
    assert run.requested() == Recipe()


def test_a_checkpoint_is_named_and_old_ones_go(tmp_path: Path) -> None:
    run = new(tmp_path)
    run.commit(1, {"last": fill("a"), "best": fill("A")})
    run.commit(2, {"last": fill("b")}, epoch=1)
    run.commit(3, {"last": fill("c")})
    assert (run.checkpoint("last") / "weights.safetensors").read_text() == "c"
    assert (run.checkpoint("best") / "weights.safetensors").read_text() == "A"
    assert len(list((run.path / "checkpoints").iterdir())) == 2
    assert run.current()["epoch"] == 1


def test_checkpoints_of_a_killed_process_go(tmp_path: Path) -> None:
    """Killed after the last ``current.json`` and before what it replaced was removed: no later commit would do it."""
    run = new(tmp_path)
    run.commit(1, {"last": fill("a"), "best": fill("A")})
    kept = {run.current()[role] for role in ("last", "best")}
    shutil.copytree(run.checkpoint("last"), run.path / "checkpoints" / "000000000")
    recording.clean(run)
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == kept


def test_the_same_step_again_does_not_touch_what_is_named(tmp_path: Path) -> None:
    run = new(tmp_path)
    run.commit(5, {"last": fill("a")})
    first = run.checkpoint("last")
    run.commit(5, {"last": fill("b")})
    assert run.checkpoint("last") != first
    assert not first.exists()


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    run = new(tmp_path)
    run.commit(1, {"last": fill("a")})

    def fails(folder: Path) -> None:
        (folder / "weights.safetensors").write_text("half")
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        run.commit(2, {"last": fails})
    assert (run.checkpoint("last") / "weights.safetensors").read_text() == "a"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["000000001"]


def test_what_is_prepared_is_named_when_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new(tmp_path)
    run.commit(1, {"last": fill("a")})
    finish = run.prepare(2, {"last": fill("b")})
    assert (run.checkpoint("last") / "weights.safetensors").read_text() == "a"
    finish()
    assert (run.checkpoint("last") / "weights.safetensors").read_text() == "b"

    finish = run.prepare(3, {"last": fill("c")})
    monkeypatch.setattr(files, "sync_file", full)
    with pytest.raises(RunError, match="a full disk"):
        finish()
    assert (run.checkpoint("last") / "weights.safetensors").read_text() == "b"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["000000002"]


def full(path: Path) -> None:
    raise OSError(errno.ENOSPC, "planted")


def test_a_checkpoint_name_cannot_lead_out_of_the_run(tmp_path: Path) -> None:
    run = new(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    run.write_json("current.json", {"version": 1, "last": "../../elsewhere"})
    with pytest.raises(RunError, match="missing"):
        run.checkpoint("last")


def test_one_writer(tmp_path: Path) -> None:
    run = new(tmp_path).lock()
    with pytest.raises(RunError, match="another process"):
        RunDirectory(run.path).lock()
    assert RunDirectory(run.path).is_locked()
    with pytest.raises(RunError, match="another process"):
        runs.delete([run.path])
    run.unlock()
    assert not RunDirectory(run.path).is_locked()
    runs.delete([run.path])
    assert runs.list_directories(tmp_path) == []


@pytest.mark.parametrize("name", ["current.json", "network.json"])
def test_another_version_is_refused_with_its_number(tmp_path: Path, name: str) -> None:
    from netwright.records import NetworkFile

    run = new(tmp_path)
    run.write_json(name, {"version": 99, "kind": "zoo", "name": "mlp"})
    with pytest.raises(RunError, match="version 99"):
        run.current() if name == "current.json" else run.read_record(name, NetworkFile)


@pytest.mark.parametrize(
    "text",
    ["{garbage", "[1]", "5", "null", '{"version": 1, "seconds": "x"}', '{"version": 1, "step": "many"}',
     '{"version": 1, "metrics": 3}', '{"version": 1, "last": 5}'],
)  # fmt: skip
def test_a_damaged_current_is_named_and_listed(tmp_path: Path, text: str) -> None:
    run = new(tmp_path)
    (run.path / "current.json").write_text(text)
    with pytest.raises(RunError, match="damaged file") as caught:
        run.current()
    assert caught.value.where == str(run.path / "current.json")
    assert "restore it" in caught.value.suggestion
    assert [each.state for each in runs.summaries(tmp_path)] == ["damaged"]


@pytest.mark.parametrize("text", ["{{{", "- a", "train: {epoch: 3}", "train: {epochs: abc}", "version: 9"])
def test_a_damaged_recipe_is_the_runs_fault_and_not_the_users(tmp_path: Path, text: str) -> None:
    run = new(tmp_path)
    (run.path / "recipe.yaml").write_text(text)
    with pytest.raises(RunError) as caught:
        run.recipe()
    assert str(run.path / "recipe.yaml") in caught.value.where
    assert caught.value.suggestion == ("a newer netwright" if "9" in text else runs.RESTORE)
    assert runs.summarize(run.path).state == "damaged"


@pytest.mark.parametrize("name", ["environment.json", "preprocess.json", "network.json"])
@pytest.mark.parametrize("content", [b"[]", b"nope", b"\xff\xfe\x00", b""])
def test_a_damaged_record_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    run = new(tmp_path)
    (run.path / name).write_bytes(content)
    with pytest.raises(RunError, match="damaged file") as caught:
        run.environment() if name == "environment.json" else run.read_record(name, Evidence)
    assert (caught.value.where, caught.value.suggestion) == (str(run.path / name), runs.RESTORE)


def test_a_run_without_its_recipe_is_no_other_name(tmp_path: Path) -> None:
    run = new(tmp_path)
    run.open_log().close()
    (run.path / "recipe.yaml").unlink()
    with pytest.raises(RunError, match="without its recipe") as caught:
        runs.find(run.name, tmp_path)
    assert str(run.path) in caught.value.suggestion


def test_a_run_whose_directory_was_deleted_while_it_trained(tmp_path: Path) -> None:
    run = new(tmp_path)
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="directory is gone"):
        run.commit(1, {"last": fill("a")})


def test_the_nearest_run_is_near_in_its_name_and_not_in_its_number(tmp_path: Path) -> None:
    for name in ("digits", "digits", "wav"):
        new(tmp_path, name)
    for wrong, near in (
        ("digit-0001", "digits-0002"),
        ("digits-0009", "digits-0002"),
        ("array-0001", "netwright runs"),
    ):
        with pytest.raises(UsageError) as caught:
            runs.find(wrong, tmp_path)
        assert caught.value.suggestion == near


def test_a_name_keeps_its_letters_and_no_more_than_a_file_system_takes(tmp_path: Path) -> None:
    assert runs.create(tmp_path, "Blüten äpfel").name == "Blüten-äpfel-0001"
    assert runs.create(tmp_path, "花").name == "花-0001"
    assert runs.create(tmp_path, "花" * 300).is_dir()


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    run = new(tmp_path)
    (run.path / "run.sqlite").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(RunError, match="damaged"):
        run.reader()
    assert runs.summarize(run.path).state == "damaged"


def test_last_is_the_newest_and_an_unknown_one_gets_the_nearest(tmp_path: Path) -> None:
    new(tmp_path, "first"), new(tmp_path, "second")
    assert runs.find("last", tmp_path).name == "second-0001"
    assert runs.find("first-0001", tmp_path).name == "first-0001"
    with pytest.raises(UsageError, match="second-0001"):
        runs.find("secnd-0001", tmp_path)
    with pytest.raises(UsageError, match="no run"):
        runs.find("last", tmp_path / "nowhere")


def test_a_listing_says_how_each_run_stands(tmp_path: Path) -> None:
    finished, interrupted = new(tmp_path, "a"), new(tmp_path, "b")
    finished.commit(1, {"last": fill("a")})
    finished.mark(finished=True, metrics={"validation": {"accuracy": 0.5}}, seconds=2.0)
    interrupted.commit(1, {"last": fill("a")})
    new(tmp_path, "c")
    (tmp_path / "not-a-run").mkdir()
    found = {summary.name: summary for summary in runs.summaries(tmp_path)}
    assert {name: summary.state for name, summary in found.items()} == {
        "a-0001": "finished", "b-0001": "interrupted", "c-0001": "empty"
    }  # fmt: skip
    assert found["a-0001"].metrics["validation"]["accuracy"] == 0.5
    json.loads(found["a-0001"].to_json())
