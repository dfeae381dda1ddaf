"""Score a diagnoser on a blind fault set; `--set` names it (first or second), the other options are those of the
shared `score.py`.

python benchmarks/doctor/score_blind.py --diagnoser none --seeds 2
python benchmarks/doctor/score_blind.py --set second --only ratings-unit-vectors --json scores.json
"""

import argparse
import importlib
import sys

import blind_layers  # noqa: F401 - finds the shared folder
import score

MODULES = {"first": "blind_cases", "second": "second_cases"}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--set", choices=MODULES, default="first")
    options, rest = parser.parse_known_args()
    chosen = importlib.import_module(MODULES[options.set])
    sys.exit(score.main(chosen.CASES, chosen.CONTROLS, rest))
