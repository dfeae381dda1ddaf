"""Wrong usage: exit code 2, the nearest name, and in JSON one document."""

import contextlib
import gc
import importlib.metadata
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netwright.__main__

Says = Callable[..., Any]


WRONG = [
    (["trian"], "'trian'", "train"),
    (["nothing-like-it"], "'nothing-like-it'", "netwright --help"),
    (["--jsn"], "'--jsn'", "netwright --help"),
    (["train", "--epoch", "3"], "--epoch", "--epochs"),
    (["train", "--epochs3"], "--epochs3", "--epochs"),
    (["train", "digits", "--weight-decay", "3"], "--weight-decay", "--set train.weight_decay=VALUE"),
    (["train", "digits", "--label-smoothing=0.1"], "--label-smoothing", "--set objective.label_smoothing=VALUE"),
    (["train", "digits", "another"], "'another'", "netwright train --help"),
    (["train", "digits", "--lr"], "--lr requires an argument", "netwright train --help"),
    (["train", "digits", "--epochs", "3", "--epochs", "4"], "--epochs specified multiple", "netwright train --help"),
    (["train", "digits", "--epochs", "ten"], "'ten'", "--epochs auto"),
    (["train", "digits", "--epochs", "0"], "0", "--epochs auto"),
    (["train", "digits", "--lr", "-0.1"], "-0.1", "--lr auto"),
    (["train", "digits", "--optimizer", "adm"], "'adm'", "--optimizer adam"),
    (["train", "digits", "--schedule", "cosin"], "'cosin'", "--schedule cosine"),
    (["train", "digits", "--precision", "fp8"], "'fp8'", "--precision fp32"),
    (["train", "digits", "--set", "train.epoch=3"], "an unknown key", "--set train.epochs=3"),
    (["train", "digits", "--set", "train.epochs=abc"], "'abc'", "--set train.epochs=auto"),
    (["train", "digits", "--set", "train.epochs=abc", "--epochs", "3"], "'abc'", "--set train.epochs=auto"),
    (["train", "digits", "--batch-size", "many"], "--batch-size", "--batch-size auto"),
    (["train", "--resume", "last", "--epochs", "abc"], "'abc'", "--epochs auto"),
    (["train", "digits", "--set", "train.epochs"], "'train.epochs'", "--set train.epochs=12"),
    (["train", "digits", "--set", "train.epochs=3", "--set", "train.epochs=4"], "3 and 4", "--set train.epochs=4"),
    (["train", "digits", "--set", "data.source=other"], "'other' beside the source 'digits'", ""),
    (["train", "absent.yaml"], "no such file", "netwright init"),
    (["train", "digits", "--resume", "last"], "together with digits", "train, which starts a new run"),
    (["train", "--resume", "last", "--epochs", "3"], "together with train.epochs=3", "train, which starts a new run"),
    (["train", "--resume", "last", "--set", "seed=3"], "together with --set seed=3", "train, which starts a new run"),
    (["train", "--resume", "last", "--print-recipe"], "together with --print-recipe", "leave one out"),
    (["train", "digits", "--print-recipe", "--quiet"], "together with --quiet", "leave one out"),
    (["train", "--resume", "last", "--out", "absent"], "no run in absent", "netwright train digits --out absent"),
    (["ensemble", "a", "b", "--weights", "-1,2"], "-1,2 begins with a hyphen", "--weights=-1,2, if that is the value"),
    (["predict"], "requires an argument", "netwright predict --help"),
    (["predict", "last"], "no file", "netwright predict --help"),
    (["predict", "last", "a.png", "--top", "two"], "'two'", "netwright predict --help"),
    (["predict", "last", "-", "a.png"], "standard input and 1 file", ""),
    (["runs", "--stat", "finished"], "--stat", "--state"),
    (["runs", "--state", "finishd"], "'finishd'", "finished"),
    (["runs", "--yes"], "without --delete", "--delete RUN… --yes"),
    (["runs", "--delete", "a", "--state", "empty"], "together with --state", ""),
    (["runs", "--delete"], "no run", "netwright runs"),
    (["report", "absent", "--out", "nowhere"], "no run there", "netwright runs"),
    (["compare", "one.yaml"], "requires an argument", "netwright compare --help"),
    (["init", "recipe.txt"], "a name with another ending", "recipe.txt.yaml"),
    (["list", "network"], "'network'", "networks"),
    (["completion"], "requires an argument", "netwright completion --help"),
    (["completion", "tcsh"], "'tcsh'", ""),
    (["env", "--jso"], "--jso", "--json"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "got", "suggestion"), WRONG, ids=[" ".join(words) for words, *_ in WRONG])
def test_wrong_usage(
    words: list[str], got: str, suggestion: str, says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = says(*words)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error  ")
    assert got in said.err
    assert "Traceback" not in said.err
    tries = [line.strip().removeprefix("try").strip() for line in said.err.splitlines() if line.startswith("  try")]
    assert tries == ([suggestion] if suggestion else [])
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize("words", [words for words, *_ in WRONG[::4] if "--json" not in words], ids=" ".join)
def test_wrong_usage_in_json_is_one_document(
    words: list[str], says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = says(*words, "--json")
    assert said.code == 2
    assert set(said.document) == {"error"}
    assert set(said.document["error"]) == {"where", "got", "expected", "try"}
    assert said.err


def test_what_nobody_foresaw_keeps_its_traceback(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a planted fault")

    monkeypatch.setattr("netwright.environment.report", broken)
    said = says("env", "--json")
    assert said.code == 1
    assert "Traceback" in said.err
    assert "a planted fault" in said.err
    assert said.document == {
        "error": {"where": "ZeroDivisionError", "got": "a planted fault", "expected": "", "try": ""}
    }


def test_what_code_of_the_users_prints_is_kept_out_of_the_document(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative() -> dict[str, float]:
        print("hello")
        return {"value": float("nan")}

    monkeypatch.setattr("netwright.environment.report", talkative)
    said = says("env", "--json")
    assert said.document == {"value": None}
    assert "hello" in said.err


def test_a_network_that_prints_leaves_every_answer_clean(says: Says, tmp_path: Path, pictures: Path) -> None:
    """At import, while it is built and in every step, to the stream of then and of later."""
    (tmp_path / "talkative.py").write_text(
        "import sys, torch\nprint('noise')\nthen = sys.stdout\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); print('noise'); self.f = torch.nn.Linear(64, 10)\n"
        "    def forward(self, x):\n        print('noise'); print('noise', file=then); return self.f(x.flatten(1))\n"
    )
    network = ("--network", f"{tmp_path / 'talkative.py'}:Net", "--epochs", "1", "--limit", "100", "--threads", "1")
    out = ("--out", tmp_path / "runs")
    trained = says("train", "digits", *network, *out, "--json")
    assert Path(trained.document["run"]).is_dir()
    assert trained.err.count("noise") > 4
    quiet = says("train", "digits", *network, *out, "--quiet")
    assert quiet.out == f"{tmp_path / 'runs' / 'digits-0002'}\n"
    summary = says("train", "--resume", "last", *out)
    assert "noise" not in summary.out
    assert "kept: the weights" in summary.out
    file = pictures / "0.png"
    assert says("predict", "last", file, *out, "--json").document["predictions"][0]["name"] == str(file)
    header, row = says("predict", "last", file, *out, "--csv").out.splitlines()
    assert header == "file,label,probability"
    assert row.startswith(f"{file},")
    table = says("predict", "last", file, *out)
    assert len(table.out.splitlines()) == 2
    assert "noise" in table.err


@pytest.mark.parametrize("kind", [KeyboardInterrupt, BrokenPipeError])
def test_stops_without_a_traceback(kind: type[BaseException], says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        raise kind

    monkeypatch.setattr("netwright.environment.report", stopped)
    monkeypatch.setattr("os.dup2", lambda *unused: None)
    said = says("env")
    assert said.code == (130 if kind is KeyboardInterrupt else 0)
    assert "Traceback" not in said.err


def test_an_interrupt_that_a_library_swallowed(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NumPy and PyTorch do while they are imported: they fail later, for another reason."""

    def swallowed() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy' has no attribute 'matrix'")

    monkeypatch.setattr("netwright.environment.report", swallowed)
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell starts a program
    before = signal.getsignal(signal.SIGINT)
    try:
        said = says("env")
        assert (said.code, said.out, said.err) == (130, "", "interrupted\n")
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, found)


def test_code_of_the_users_that_exits(says: Says, tmp_path: Path) -> None:
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    words = ("--network", f"{tmp_path / 'exits.py'}:Net", "--epochs", "1", "--limit", "50")
    said = says("train", "digits", *words, "--out", tmp_path / "runs", "--json")
    assert said.code == 2
    assert said.document["error"]["where"] == str(tmp_path / "exits.py")
    assert "SystemExit: 3" in said.document["error"]["got"]
    assert "exits.py:2: sys.exit(3)" in said.document["error"]["got"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("to", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing(to: str) -> None:
    for words in ("list networks", "list networks --json"):
        command = f"{sys.executable} -m netwright {words} {to}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == (1 if "full" in to else 0)
        assert "Traceback" not in done.stderr
        assert ("the output" in done.stderr) == ("full" in to)


def test_a_reader_that_has_seen_enough() -> None:
    command = f"{sys.executable} -m netwright list keys | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("beyond", ["file", "file/deep/runs", "x" * 300])
def test_runs_in_a_place_that_cannot_be(
    beyond: str, says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before the data are read, which may take minutes."""
    monkeypatch.setattr("netwright.workbench.open_material", lambda *given: pytest.fail("the data were read"))
    (tmp_path / "file").write_text("")
    said = says("train", "digits", "--out", tmp_path / beyond, "--json")
    assert said.code == 1
    assert "Traceback" not in said.err
    problem = said.document["error"]
    assert problem["where"] == str(tmp_path / beyond)
    assert "a place that cannot be written" in problem["got"]
    assert (problem["expected"], problem["try"]) == ("a folder that can be written", "--out FOLDER")
    for verb in (["report"], ["train", "--resume", "last"], ["compare", "a", "b"], ["predict", "last", "a.png"]):
        said = says(*verb, "--out", tmp_path / beyond)
        assert (said.code, said.err.startswith("error ")) == (2, True)


def test_predicting_with_the_file_before_the_run(says: Says, pictures: Path) -> None:
    said = says("predict", pictures / "0.png", "last")
    assert said.code == 2
    assert f"netwright predict last {pictures / '0.png'}" in said.err


def test_listing_a_file_and_a_folder_that_is_not_there(says: Says, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = says("runs", "--out", tmp_path / "file")
    assert said.code == 2
    assert f"--out {tmp_path}" in said.err
    assert f"no folder {tmp_path / 'absent'}" in says("runs", "--out", tmp_path / "absent").out


def test_what_the_file_system_says_of_any_path_has_a_hint(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "/some where/file")

    monkeypatch.setattr("netwright.environment.report", refused)
    said = says("env", "--json")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert said.document["error"] == {
        "where": "/some where/file", "got": "permission denied", "expected": "a place that you may use",
        "try": "ls -ld '/some where'",
    }  # fmt: skip


def test_a_place_that_cannot_be(says: Says, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = says("init", tmp_path / "file" / "recipe.yaml", "--json")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert str(tmp_path / "file") in said.document["error"]["where"]
    assert "is a file" in said.document["error"]["got"]
    assert "netwright init" in said.document["error"]["try"]
    assert says("init", tmp_path).code == 2


def test_predicting_hints_at_no_key_of_a_recipe_which_it_does_not_take(says: Says, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},{2 * i}.5\n" for i in range(40)))
    short = ("--network", "mlp", "--epochs", "1", "--set", "watch.enabled=false", "--out", tmp_path / "runs")
    assert says("train", tmp_path / "t.csv", *short).code == 0
    (tmp_path / "more.csv").write_text("a,b\n1,2.5\n,3.5\n")
    for form in ([], ["--csv"], ["--json"]):
        said = says("predict", "last", tmp_path / "more.csv", "--out", tmp_path / "runs", *form)
        assert said.code == 2
        assert "mend the file, or train with --set data.missing=mean" in said.err.replace("\n", " ") + said.out


def test_the_installed_command_is_the_modules_own_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is frozen is not gone through for cycles when Python ends: seconds with PyTorch's objects."""
    found = importlib.metadata.entry_points(group="console_scripts", name="netwright")
    assert {point.load() for point in found} == {netwright.__main__.command}
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    monkeypatch.setattr(sys, "argv", ["netwright", "--nonsense"])
    assert netwright.__main__.command() == 2
    assert frozen == [1]
