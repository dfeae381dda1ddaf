"""Score a diagnoser on the second fault benchmark; the options are those of the shared `score.py`.

python benchmarks/doctor/score_blind.py --diagnoser none --seeds 2
python benchmarks/doctor/score_blind.py --only adult-raw-numbers --json scores.json
"""

import sys

import blind_layers  # noqa: F401 - finds the shared folder
import score
from blind_cases import CASES, CONTROLS

if __name__ == "__main__":
    sys.exit(score.main(CASES, CONTROLS))
