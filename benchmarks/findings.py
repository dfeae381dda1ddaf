"""Every example of a finding with its experiments: is it told, and what does telling cost?

python benchmarks/findings.py [CODE…]
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import common

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import findings

from netwright.diagnosis import telling


def main(codes: list[str]) -> None:
    rows = []
    for code in codes or list(findings.EXAMPLES):
        began, processor = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            diagnosis = findings.EXAMPLES[code]()
        own = [finding for finding in diagnosis.findings if finding.code == code]
        rows.append({
            "code": code, "told": bool(own), "severity": own[0].severity if own else "",
            "confirmed": any(telling.is_confirmed(finding) for finding in own),
            "beside it": ", ".join(finding.code for finding in diagnosis.findings if finding.code != code),
            "processor seconds": round(time.process_time() - processor, 1),
            "seconds": round(time.perf_counter() - began, 1),
        })  # fmt: skip
        print({key: value for key, value in rows[-1].items() if value}, flush=True)
    told = sum(bool(row["told"]) for row in rows)
    print(f"{told} of {len(rows)} examples show their finding")
    common.write_result("findings", "examples", {"told": told, "examples": len(rows), "rows": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
