"""Help, version and completion: current, quick, and without the heavy libraries."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netwright
from netwright.cli import frozen
from netwright.cli.main import PAGE_WIDTH, VERBS

Says = Callable[..., Any]
HEAVY = ("torch", "sklearn", "PIL", "numpy", "jinja2", "rich", "cyclopts", "yaml", "msgspec")


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages written anew, once: Cyclopts takes seconds for the completions."""
    folder = tmp_path_factory.mktemp("frozen") / "pages"
    frozen.write(folder)
    return folder


def test_the_frozen_pages_are_current(written: Path) -> None:
    """If this fails: python -m netwright.cli.frozen"""
    assert texts(frozen.PAGES) == texts(written)


def test_writing_the_pages_again_leaves_them(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = texts(written)
    assert {path.removesuffix(".txt") for path in before if path.endswith(".txt")} == {"netwright", *VERBS}
    monkeypatch.setattr(frozen, "pages", lambda: before)
    frozen.write(written)
    assert texts(written) == before


@pytest.mark.parametrize("page", sorted(frozen.PAGES.glob("*.txt")), ids=lambda page: page.stem)
def test_a_page_fits_and_says_what_every_option_does(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        assert len(line) <= PAGE_WIDTH, line
        if line.startswith("  --"):
            assert len(line.split(maxsplit=1)) == 2, line
            assert line[30:].strip(), f"{line!r} says nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        *([verb, "--help"] for verb in VERBS), ["--help"], ["-h"], [], ["--version"], ["completion", "bash"],
        ["train", "digits", "-h"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_imports_next_to_nothing(arguments: list[str]) -> None:
    code = (
        "import sys; from netwright.cli.main import main\n"
        f"code = main({arguments!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_importing_a_verb_imports_no_torch() -> None:
    """Reading options, unknown ones above all, must not wait for PyTorch."""
    modules = ", ".join(place.partition(":")[0] for place, _ in VERBS.values())
    heavy = ("torch", "sklearn", "PIL", "jinja2")
    code = f"import sys, {modules}; sys.exit([name for name in {heavy!r} if name in sys.modules] or 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_installed_command_and_the_module_say_the_same() -> None:
    script = Path(sysconfig.get_path("scripts")) / ("netwright.exe" if os.name == "nt" else "netwright")
    commands = [[sys.executable, "-m", "netwright"], *([[str(script)]] if script.exists() else [])]
    for command in commands:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == netwright.__version__


@pytest.mark.parametrize("shell", frozen.SHELLS)
def test_completion_is_a_script_that_its_shell_accepts(shell: str, tmp_path: Path, says: Says) -> None:
    said = says("completion", shell)
    assert said.code == 0
    for word in ("train", "--epochs", "--set", "one-cycle", "predict"):
        assert word in said.out
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed here")
    script = tmp_path / "script"
    script.write_text(said.out)
    done = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["netwright", "tr"], {"train"}),
        (["netwright", "train", "--ep"], {"--epochs"}),
        (["netwright", "train", "--schedule", "cos"], {"cosine"}),
        (["netwright", "list", "net"], {"networks"}),
        (["netwright", "train", "digits", "--optimizer", "ada"], {"adagrad", "adam", "adamax", "adamw", "adadelta"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], written: Path) -> None:
    line = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _netwright; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    script = f"{(written / 'completion.bash').read_text()}\n{ask}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected


def test_a_narrow_page_is_laid_out_anew() -> None:
    page = frozen.help_of("train", width=60)
    assert max(map(len, page.splitlines())) <= 76  # a word is never cut, and the names keep their column
    assert "--epochs N" in page
