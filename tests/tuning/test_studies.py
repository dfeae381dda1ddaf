"""Studies: nothing finished is lost or repeated, whatever ends a process; what is wrong is said once."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest
from optuna.trial import TrialState

import warm
from netwright.errors import RecipeError, RunError, UsageError
from netwright.recipe import override
from netwright.records import to_builtin
from netwright.tuning import repeating, sampling, studies
from netwright.tuning.spaces import parse
from netwright.tuning.studies import ABOUT, Fatal, Outcome, Stop, Study
from tuning_fakes import EPOCHS, RECIPE, SPACE, TRIALS, Fake, finish, quality, settings, study


@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
def test_every_sampler_asks_for_so_many_recipes_and_for_none_twice(sampler: str, tmp_path: Path) -> None:
    one = study(tmp_path, sampler=sampler, trials=10)
    run = Fake(one.space)
    finish(one, run)
    rows = one.trials()
    assert len(rows) == len(run.trained) == 10
    assert len({json.dumps(each.change, sort_keys=True) for each in rows}) == 10
    assert {each.state for each in rows} <= {"finished", "stopped"}
    assert any("halving" in each.reason for each in rows)
    for each in rows:
        if each.state == "finished":
            assert each.value == pytest.approx(quality(override(RECIPE, each.change), one.space), abs=1e-6)
            assert len(each.curve) == EPOCHS


def test_halving_stops_the_poor_and_lets_the_best_pass(tmp_path: Path) -> None:
    one = study(tmp_path, sampler="random", trials=24)
    finish(one, Fake(one.space))
    finished = [each.value for each in one.trials() if each.state == "finished" and each.value is not None]
    stopped = [each for each in one.trials() if each.state == "stopped"]
    epochs = sum(len(each.curve) for each in one.trials())
    assert epochs < 0.7 * 24 * EPOCHS
    last = [quality(override(RECIPE, each.change), one.space) for each in stopped]
    assert max(finished) >= max(last)


def test_without_halving_all_are_trained_to_the_end(tmp_path: Path) -> None:
    one = study(tmp_path, sampler="random", trials=8, halving=False)
    finish(one, Fake(one.space))
    assert {len(each.curve) for each in one.trials()} == {EPOCHS}


def test_a_small_grid_ends_when_it_was_tried(tmp_path: Path) -> None:
    space = ("network.depth=1..2", "train.batch_size=16,32,64")
    for sampler in ("grid", "staged", "tpe"):
        (tmp_path / sampler).mkdir()
        one = study(tmp_path / sampler, sampler=sampler, space=space, trials=50, halving=False)
        finish(one, Fake(one.space))
        assert len(one.trials()) == 6, sampler


def test_conditional_and_constant_keys_reach_the_recipe(tmp_path: Path) -> None:
    space = ("train.schedule=cosine,step", "train.gamma=0.1..0.9 if train.schedule=step", "train.clip=1.0")
    for sampler in sampling.SAMPLERS:
        (tmp_path / sampler).mkdir()
        one = study(tmp_path / sampler, sampler=sampler, space=space, trials=5, halving=False)
        seen: list[tuple[str, bool]] = []

        def run(recipe, number, told, seen=seen):  # type: ignore[no-untyped-def]
            seen.append((recipe.train.schedule, recipe.train.gamma == RECIPE.train.gamma))
            assert recipe.train.clip == 1.0
            return Outcome(score=recipe.train.gamma)

        while one.step(run):
            pass
        assert {schedule for schedule, _ in seen} == {"cosine", "step"}
        assert all(own for schedule, own in seen if schedule == "cosine"), sampler


def test_a_study_goes_on_where_it_stopped_and_can_be_made_longer(tmp_path: Path) -> None:
    one = study(tmp_path)
    run = Fake(one.space)
    for _ in range(3):
        one.step(run)
    again = study(tmp_path)
    finish(again, run)
    assert len(run.trained) == TRIALS
    longer = study(tmp_path, trials=TRIALS + 2)
    finish(longer, run)
    assert len(run.trained) == len(longer.trials()) == TRIALS + 2


def test_what_the_sampler_says_does_not_depend_on_breaks(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    one = study(whole)
    finish(one, Fake(one.space))
    for _ in range(TRIALS):
        other = study(broken)
        other.step(Fake(other.space))
    assert [each.change for each in one.trials()] == [each.change for each in other.trials()]


def test_ctrl_c_puts_the_trial_back(tmp_path: Path) -> None:
    one = study(tmp_path)
    run = Fake(one.space)
    one.step(run)

    def interrupted(recipe, number, told):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.step(interrupted)
    waiting = [each for each in one.trials() if each.state == "waiting"]
    assert len(waiting) == 1
    finish(one, run)
    assert len(one.trials()) == len(run.trained) == TRIALS
    assert waiting[0].change in [each.change for each in one.trials() if each.state != "waiting"]


def test_a_fault_of_the_machine_stops_the_study_and_keeps_the_trial(tmp_path: Path) -> None:
    one = study(tmp_path)

    def full(recipe, number, told):  # type: ignore[no-untyped-def]
        raise Fatal(RunError("the study's folder", "a full disk"))

    with pytest.raises(RunError, match="full disk"):
        one.step(full)
    assert [each.state for each in one.trials()] == ["waiting"]


def test_a_failed_trial_keeps_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    one = study(tmp_path)
    run = Fake(one.space)

    def sometimes(recipe, number, told):  # type: ignore[no-untyped-def]
        if number % 3 == 1:
            raise RecipeError("network.depth", "4", "less")
        if number % 3 == 2:
            raise Stop("doctor: exploding-gradient")
        return run(recipe, number, told)

    while one.step(sometimes):
        one.require_not_hopeless()
    rows = one.trials()
    assert len(rows) == TRIALS
    assert {each.reason for each in rows if each.state == "failed"} == {"network.depth: got 4, expected less"}
    assert {each.reason for each in rows if each.number % 3 == 2} == {"doctor: exploding-gradient"}


@pytest.mark.parametrize(("error", "kind"), [(RecipeError("data", "x", "y"), UsageError), (ValueError("no"), RunError)])
def test_all_trials_failing_is_said_once_with_the_shared_reason(
    error: Exception, kind: type[Exception], tmp_path: Path
) -> None:
    one = study(tmp_path, trials=40)

    def failing(recipe, number, told):  # type: ignore[no-untyped-def]
        raise error

    for _ in range(5):
        one.require_not_hopeless()
        one.step(failing)
    with pytest.raises(kind) as caught:
        one.require_not_hopeless()
    assert len(one.trials()) == 5
    assert str(caught.value).count(str(error)) == 1


def test_a_killed_process_loses_nothing_and_its_trial_is_asked_for_again(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from pathlib import Path
        from tuning_fakes import Fake, study
        one = study(Path({str(tmp_path)!r}))
        run = Fake(one.space)
        for _ in range(3):
            one.step(run)
        def hang(recipe, number, told):
            print("hanging", flush=True)
            time.sleep(60)
        one.step(hang)
    """
    process = warm.Running(["-c", textwrap.dedent(code)], tmp_path)
    process.wait_for("hanging\n", 120)
    one = study(tmp_path)
    assert one.recover() == 0  # it lives
    process.kill()
    before = [each for each in one.trials() if each.state in ("finished", "stopped")]
    assert len(before) == 3
    assert one.recover() == 1
    run = Fake(one.space)
    finish(one, run)
    after = one.trials()
    assert len(after) == TRIALS
    assert len(run.trained) == TRIALS - 3
    assert [each for each in after if each.number < 3] == before


def test_what_was_trained_but_not_told_is_told_by_the_next(tmp_path: Path) -> None:
    """A kill between the training's end and the database: the note beside it holds the outcome."""
    one = study(tmp_path)
    trial = one._asked()
    values = sampling.suggest(one.space, trial)
    about = {"state": "COMPLETE", "score": 0.75, "about": {"seconds": 3.0, "metrics": {"accuracy": 0.75}}}
    one._note(trial._trial_id).write_text(json.dumps(about))
    gone = {**trial.user_attrs["owner"], "pid": 2**22 - 3, "started": "never"}
    trial.set_user_attr("owner", gone)
    assert study(tmp_path).recover() == 1
    (row,) = study(tmp_path).trials()
    assert (row.state, row.value, row.seconds, row.change) == ("finished", 0.75, 3.0, values)
    assert not list(tmp_path.glob(".outcome*"))


def test_a_trial_that_kills_its_process_is_not_asked_for_for_ever(tmp_path: Path) -> None:
    one = study(tmp_path, trials=1)
    for _ in range(3):
        trial = one._asked()
        sampling.suggest(one.space, trial)
        trial.set_user_attr("owner", {**trial.user_attrs["owner"], "pid": 2**22 - 3})
        assert one.recover() == 1
    assert one.is_over()
    assert [(each.state, each.reason) for each in one.trials()] == [("failed", "its process ended")]


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from pathlib import Path
        from tuning_fakes import Fake, finish, study
        one = study(Path({str(tmp_path)!r}), worker=int(sys.argv[1]), trials=10)
        run = Fake(one.space)
        finish(one, run)
        print(len(run.trained))
    """
    study(tmp_path, trials=10)
    crew = [warm.Running(["-c", textwrap.dedent(code), str(number)], tmp_path) for number in range(2)]
    counts = [int(process.finish(120).stdout) for process in crew]
    rows = study(tmp_path, trials=10).trials()
    assert sum(counts) == len(rows) == 10
    assert len({json.dumps(each.change, sort_keys=True) for each in rows}) == 10


def test_a_database_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """Planted: while a trial trains, five statements find no server; the outcome is told all the same, once."""
    from sqlalchemy import event
    from sqlalchemy.exc import OperationalError

    said: list[str] = []
    one = study(tmp_path)
    one.storage._said = said.append
    gone = 0

    def fail(connection, cursor, statement, parameters, context, many):  # type: ignore[no-untyped-def]
        nonlocal gone
        if gone:
            gone -= 1
            raise OperationalError(statement, parameters, Exception("server closed the connection unexpectedly"))

    event.listen(one.storage.engine, "before_cursor_execute", fail)
    run = Fake(one.space)

    def outage(recipe, number, told):  # type: ignore[no-untyped-def]
        nonlocal gone
        outcome = run(recipe, number, told)
        gone = 5
        return outcome

    one.storage._patience = 30.0
    one.step(outage)
    assert len([text for text in said if "does not answer" in text]) >= 1
    assert any("answers again" in text for text in said)
    assert [each.state for each in one.trials()] == ["finished"]
    one.storage._patience, gone = 0.5, 10**6
    with pytest.raises(RunError) as caught:
        one.trials()
    assert "netwright tune --resume s" in caught.value.suggestion


def test_a_full_disk_says_how_to_go_on(tmp_path: Path) -> None:
    one = study(tmp_path)
    finish_one = Fake(one.space)
    one.step(finish_one)
    pages = one.storage.engine.connect().exec_driver_sql("pragma page_count").scalar()
    from sqlalchemy import event

    one.storage.engine.dispose()
    event.listen(one.storage.engine, "connect", lambda raw, _: raw.execute(f"pragma max_page_count={pages}"))

    def fill() -> None:
        for number in range(200):
            one.storage.set_study_user_attr(one.inner._study_id, f"more{number}", "x" * 1000)

    with pytest.raises(RunError) as caught:
        fill()
    assert "full" in str(caught.value)
    assert "netwright tune --resume s" in caught.value.suggestion
    assert len(study(tmp_path).trials()) == 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"recipe": to_builtin(override(RECIPE, {"train.epochs": 3}))}, "train.epochs"),
        ({"space": (*SPACE[:3], "network.depth=1..5")}, "another space"),
        ({"sampler": "tpe"}, "sampler"),
        ({"data": "other"}, "other examples"),
    ],
)
def test_a_study_of_something_else_is_not_joined(changes: dict[str, object], word: str, tmp_path: Path) -> None:
    study(tmp_path, data="these")
    with pytest.raises(UsageError, match=word) as caught:
        study(tmp_path, **{"data": "these", **changes})
    assert "--study" in caught.value.suggestion


def test_a_study_of_another_version_is_refused(tmp_path: Path) -> None:
    one = study(tmp_path)
    one.inner.set_user_attr(ABOUT, {**to_builtin(one.settings), "version": 2})
    with pytest.raises(UsageError, match="version 2"):
        study(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_text("no database at all, and long enough to be looked at" * 20)
    with pytest.raises(RunError, match="damaged"):
        study(tmp_path)


def test_time_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, now = study(tmp_path, trials=None, seconds=1.0), [0.0]
    monkeypatch.setattr(studies.time, "perf_counter", lambda: now[0])

    def slow(recipe, number, told):  # type: ignore[no-untyped-def]
        now[0] += 0.3
        return Outcome(score=0.5)

    count = 0
    while one.step(slow):
        count += 1
    assert count == 4


def test_the_best_few_are_repeated_over_the_same_other_seeds(tmp_path: Path) -> None:
    one = study(tmp_path)
    run = Fake(one.space)
    finish(one, run)
    repeats = repeating.Repeats(one)
    assert repeats.prepare() == 9  # two and the recipe itself, three seeds each
    assert repeats.prepare() == 0
    again = Fake(one.space)
    finish(repeats, again)
    assert sorted(each.seed for each in again.trained) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    verdict = repeats.verdict()
    assert len(verdict.contestants) == 3
    assert verdict.contestants[0].mean == max(each.mean or 0 for each in verdict.contestants)
    assert len(one.trials()) == TRIALS  # the search does not count them
    assert {each.state for each in one.frozen()} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_the_folder_of_a_study_that_nobody_may_write_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(RunError):
        study(tmp_path / "deeper")


def test_trials_are_read_as_optuna_reads_them(tmp_path: Path) -> None:
    """The rows that we read by ourselves, beside Optuna's own objects: finished, stopped, failed, waiting, running."""
    import optuna

    one = study(tmp_path, space=(*SPACE, "train.schedule=cosine,step"), trials=6)
    run = Fake(one.space, epochs=2)
    for _ in range(4):
        one.step(run)
    one.step(lambda recipe, number, told: 1 / 0)
    one.enqueue(one.space.complete({"train.lr": 0.5}))
    one.inner.add_trial(optuna.trial.create_trial(value=float("inf")))
    one._asked()
    theirs = optuna.load_study(study_name="s", storage=optuna.storages.RDBStorage(one.url)).get_trials()
    assert one.storage.get_all_trials(one.inner._study_id) == theirs
    some = {theirs[0]._trial_id, theirs[2]._trial_id}
    last = theirs[3]._trial_id
    expected = [each for each in theirs if each._trial_id in some or each._trial_id > last]
    assert one.storage._get_trials(one.inner._study_id, None, some, last) == expected


def test_settings_survive_the_database(tmp_path: Path) -> None:
    one = study(tmp_path)
    assert Study("s", tmp_path, one.url).load() == settings()
    assert parse(one.load().space, RECIPE).texts == one.space.texts
