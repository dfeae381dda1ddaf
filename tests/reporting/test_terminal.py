"""What a terminal shows, and what a pipe gets: plain lines, one an epoch, nothing on stdout."""

import io

import pytest
from filled import confusion, run_directory

from netwright.diagnosis.judging import Diagnosis
from netwright.recipe import Recipe, difference, override
from netwright.records import EpochRow, Evidence, Finding, Remedy, RunSummary
from netwright.reporting import formatting, sentences, terminal
from netwright.reporting.progress import Progress, epoch_line
from netwright.runs import summarize

ESCAPE = "\x1b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rows(epoch: int) -> list[EpochRow]:
    return [
        EpochRow(epoch=epoch, step=10 * epoch, split="train", metrics={"accuracy": 0.9, "loss": 0.5 / epoch}),
        EpochRow(epoch=epoch, step=10 * epoch, split="validation", metrics={"loss": 0.6, "accuracy": None}),
    ]


def train(progress: Progress, epochs: int = 3, first: int = 0) -> None:
    with progress:
        progress.start(epochs, 10, first)
        for epoch in range(first + 1, epochs + 1):
            for batch in (3, 6, 10):
                progress.advance(epoch, batch, 0.25 if batch == 6 else None, 12345.6)
            progress.epoch_done(epoch, rows(epoch), 1.2)


def printed(what: object, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    terminal.show(what, stream)  # type: ignore[arg-type]
    return stream.getvalue()


# ------------------------------------------------------------------------------------------------ progress


def test_elsewhere_progress_is_one_plain_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    train(Progress())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "epoch 1/3   train loss 0.5000, accuracy 90.0 %   validation loss 0.6000, accuracy –   1.2 s",
        "epoch 2/3   train loss 0.2500, accuracy 90.0 %   validation loss 0.6000, accuracy –   1.2 s",
        "epoch 3/3   train loss 0.1667, accuracy 90.0 %   validation loss 0.6000, accuracy –   1.2 s",
    ]


def test_on_a_terminal_there_is_a_bar_and_the_lines_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    train(Progress(stream=stream), epochs=4, first=2)
    shown = stream.getvalue()
    assert capsys.readouterr() == ("", "")
    assert "epoch 3/4" in shown
    assert "━" in shown
    assert shown.count("train loss") == 2
    assert shown.rindex(f"{ESCAPE}[?25h") > shown.rindex(f"{ESCAPE}[?25l")  # the cursor comes back


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    train(Progress(stream=stream))
    assert ESCAPE not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 3


def test_quiet_shows_only_what_is_said() -> None:
    stream = io.StringIO()
    progress = Progress(quiet=True, stream=stream)
    train(progress)
    progress.say("[the versions] differ")
    assert stream.getvalue() == "[the versions] differ\n"


def test_the_cursor_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()

    def interrupted() -> None:
        with Progress(stream=stream) as progress:
            progress.start(2, 5, 0)
            progress.say("[red]as it is[/red]")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "[red]as it is[/red]" in stream.getvalue()
    assert f"{ESCAPE}[?25h" in stream.getvalue()


def test_epochs_line_up() -> None:
    assert epoch_line(rows(3), 100, 0.5).startswith("epoch   3/100   train")
    assert epoch_line([], 3, 1.0) == ""


# ------------------------------------------------------------------------------------------------ tables


def summary(**changes: object) -> RunSummary:
    fields = {
        "name": "digits-0001", "directory": "runs/digits-0001", "state": "finished", "source": "digits",
        "network": "small_resnet", "epochs": 10, "step": 100,
        "metrics": {"validation": {"loss": 0.05, "accuracy": 0.986}},
        "seconds": 8.2, "started": "2025-11-21T10:00:00", "bytes": 3_400_000,
    }  # fmt: skip
    return RunSummary.from_dict(fields | changes)


def test_runs_are_a_plain_table_in_a_pipe_and_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = summary(name="x-0002", state="damaged", source="no such\nfile [bold]", metrics={}, network="")
    table = terminal.runs([summary(), damaged])
    head, first, second = printed(table).splitlines()
    assert head.split() == ["run", "state", "data", "network", "epochs", "held", "out", "time", "size", "started"]
    assert "loss 0.05000, accuracy 98.6 % (validation)" in first
    assert "8.2 s   3.4 MB   2025-11-21 10:00:00" in first
    assert "no such file [bold]" in second
    assert ESCAPE not in printed(table)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert ESCAPE in printed(table, Terminal())
    assert "netwright train digits" in printed(terminal.runs([]))


def test_a_difference_shows_both_values() -> None:
    changes = difference(Recipe(), override(Recipe(), {"train.epochs": 12, "network.arguments": {"a": [1, 2.5]}}))
    lines = [line.split() for line in printed(terminal.difference(changes, "default", "yours")).splitlines()]
    assert lines == [
        ["key", "default", "yours"], ["network.arguments", "{}", "{a:", "[1,", "2.5]}"], ["train.epochs", "auto", "12"]
    ]  # fmt: skip
    assert "equal" in printed(terminal.difference({}))


def test_an_environment_lists_versions_and_what_can_be_used() -> None:
    install = 'pip install "netwright[onnx]"'
    onnx = {"usable": False, "purpose": "ONNX files", "versions": {}, "install": install}
    report = {"netwright": "0.1.0", "versions": {"torch": "2.9", "rich": None}, "extras": {"onnx": onnx}}
    text = printed(terminal.environment(report))
    assert "torch 2.9, rich –" in text
    assert 'onnx     no       ONNX files; pip install "netwright[onnx]"' in text


def test_the_end_of_a_training_says_what_was_learned_and_where_it_is(tmp_path: object) -> None:
    directory = run_directory(tmp_path, details={"confusion": confusion(tuple("0123456789"))})  # type: ignore[arg-type]
    finding = Finding(
        code="learning-rate-too-high", severity="warning", where="train.lr", cause="steps overshoot",
        evidence=(Evidence(what="loss", value=8.2, unit="nats", expected="at most 2.3"),),
        remedies=(Remedy(code="lower", text="a smaller one", change={"train.lr": 0.001}),),
    )  # fmt: skip
    text = printed(terminal.summary(summarize(directory), report="report.html", judged=Diagnosis(findings=(finding,))))
    assert "small_resnet learned digits: 95.0 % of the held-out examples are right (validation), in 8 s" in text
    assert "report       report.html" in text
    assert "saw loss 8.2 nats (expected at most 2.3)" in text
    assert "try a smaller one  --set train.lr=0.001" in text
    gone = printed(terminal.summary(summary(directory="nowhere")))
    assert "small_resnet trained on digits: 98.6 %" in gone


# ------------------------------------------------------------------------------------------------ sentences and numbers


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ({"loss": 0.1, "accuracy": 0.9}, "90.0 % of the held-out examples are right (test)"),
        ({"loss": 0.1, "micro_f1": 0.8, "hamming_loss": 0.1}, "micro F1 80.0 % on the held-out examples (test)"),
        ({"loss": 0.1, "rmse": 2.0, "mae": 1.5}, "held-out values are off by 1.50 on average (test)"),
        ({"loss": 0.1, "accuracy": None}, "loss 0.100 on the held-out examples (test)"),
        ({"loss": None}, "no metrics"),
    ],
)
def test_how_well_is_told_by_the_most_telling_metric(metrics: dict[str, float | None], sentence: str) -> None:
    assert sentences.quality("test", metrics) == sentence


def test_what_was_not_held_out_is_not_called_so() -> None:
    run = summary(metrics={"train": {"accuracy": 1.0}})
    assert "100.0 % of the training examples are right (nothing was held out)" in sentences.headline(run)


@pytest.mark.parametrize(
    ("accuracy", "guessing", "examples", "verdict"),
    [
        (0.99, 0.1, 300, "learned"),
        (0.4, 0.1, 300, "trained"),
        (0.12, 0.1, 300, "not learned"),
        (0.92, 0.9, 100, "not learned"),
    ],
)
def test_learned_is_said_of_what_is_far_from_guessing(
    accuracy: float, guessing: float, examples: int, verdict: str
) -> None:
    assert sentences.verdict({"accuracy": accuracy}, guessing, examples) == verdict


def test_a_regression_is_judged_against_the_mean() -> None:
    assert [sentences.verdict({"r2": r2}, None, 0) for r2 in (0.9, 0.2, -0.1)] == ["learned", "trained", "not learned"]
    assert "always saying the mean is no worse" in sentences.headline(
        summary(metrics={"test": {"mae": 3.0, "r2": -1.0}})
    )


def test_paths_are_named_by_their_last_part() -> None:
    assert sentences.source_name("/home/me/photos") == "photos"
    assert sentences.source_name("C:\\data\\photos\\") == "photos"
    assert sentences.network_name("nets/mine.py:Net") == "Net"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0 s"), (0.0042, "4.2 ms"), (0.04, "0.04 s"), (0.44, "0.4 s"), (8.0, "8 s"), (9.96, "10 s"),
     (59.6, "1 min"), (61, "1 min 1 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (97200, "1 d 3 h"),
     (float("nan"), "–")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.02137, "0.02137"), (1234.6, "1235"), (-0.5, "−0.5000"), (1.2e-6, "1.2e−6"),
     (float("nan"), "not a number"), (float("-inf"), "−∞"), (None, "–"), (1e6, "1e6")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert formatting.number(value) == text


def test_sizes_counts_and_names() -> None:
    assert [formatting.size(value) for value in (812, 4100, 38e6, 2.5e9)] == ["812 B", "4.1 kB", "38 MB", "2.5 GB"]
    assert formatting.plural(1, "class", "classes") == "1 class"
    assert formatting.plural(48842, "row") == "48\u202f842 rows"
    assert formatting.short(52.0) == "52"
    assert [formatting.metric_name(name) for name in ("top5_accuracy", "macro_f1", "r2")] == [
        "top 5 accuracy",
        "macro F1",
        "R²",
    ]
    assert formatting.metric("accuracy", 0.5) == "50.0 %"
    assert formatting.metric("mae", 0.5) == "0.5000"
