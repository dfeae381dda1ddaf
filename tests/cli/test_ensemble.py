"""``netwright ensemble``: what cannot be is refused before anything is trained."""

from __future__ import annotations

import pytest

from netwright.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--weights", "0,1"], "above 0"), (["--weights", "a"], "above 0"), (["--snapshots", "0"], "above 0"),
     (["--snapshots", "half"], "or all"), (["--members", "2", "--bagging", "--boosting"], "boosting")],
)  # fmt: skip
def test_wrong_usage_says_what_is_wrong(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ensemble", "digits", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert not told.out
