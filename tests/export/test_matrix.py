"""The support matrix of docs/export.md says what the benchmark measured, and nothing else."""

import importlib.util
import json
import sys
from types import ModuleType

import pytest

from reference import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "common", raising=False)
    spec = importlib.util.spec_from_file_location("benchmark_of_export", BENCHMARKS / "export.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_table_of_the_results(benchmark: ModuleType) -> None:
    found = json.loads(benchmark.RESULTS.read_text())
    assert benchmark.table(found).strip() in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_every_float_file_of_the_results_is_within_its_tolerance_with_equal_labels(benchmark: ModuleType) -> None:
    found = json.loads(benchmark.RESULTS.read_text())["networks"]
    files = [each for row in found.values() for each in row.values() if not each.get("refused")]
    assert files
    for each in files:
        if each["precision"] == "float32":
            assert each["agrees"]
            assert each["largest_difference"] <= each["tolerance"]
        else:
            assert each["right"][0] - each["right"][1] <= 0.01
