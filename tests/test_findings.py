"""The page of findings is the catalogue's, and the examples show what they say."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from netwright.codes import CODES
from netwright.diagnosis import judging
from netwright.diagnosis.registry import RULES

ROOT = Path(__file__).resolve().parent.parent


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"of_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PAGE, EXAMPLES = loaded(ROOT / "docs" / "write_findings.py"), loaded(ROOT / "examples" / "findings.py")
# What is not told without experiments, or takes more than two seconds: benchmarks/findings.py runs these.
SLOW = {
    "label-noise", "loss-mismatch", "too-small", "too-deep", "final-map-size", "learning-rate-too-high",
    "learning-rate-too-low", "batch-too-large", "batch-too-small", "weight-decay-too-high", "over-regularized",
    "wrong-optimizer-for-batch", "too-few-epochs", "exploding-gradient", "not-learning", "slow-convergence",
    "oscillating-loss", "plateau", "overfitting", "norm-batch-too-small", "saddle-point", "edge-of-stability",
}  # fmt: skip
# No example: told by `netwright check` (the first), or shown by the rules' own tests alone.
WITHOUT = {"no-local-structure", "underfitting", "ill-conditioned"}


def test_the_page_is_written_from_the_catalogue_and_the_examples() -> None:
    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == PAGE.page(), "python docs/write_findings.py"


def test_every_code_can_be_told_and_has_an_example() -> None:
    judging.load_rules()
    told = {code for codes in RULES.values() for code in codes}
    assert set(CODES) == told
    assert set(CODES) - set(EXAMPLES.EXAMPLES) == WITHOUT
    assert set(PAGE.examples()) == set(EXAMPLES.EXAMPLES) <= set(CODES)
    assert set(EXAMPLES.EXAMPLES) > SLOW


@pytest.mark.parametrize("code", sorted(set(EXAMPLES.EXAMPLES) - SLOW))
def test_an_example_shows_its_finding(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From facts and measurements alone; the experiments are left to the benchmark."""
    monkeypatch.setattr(EXAMPLES, "LIMIT", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        diagnosis = EXAMPLES.EXAMPLES[code]()
    assert code in {finding.code for finding in diagnosis.findings}, str(diagnosis)
