"""Freed memory is the system's again."""

import platform
import subprocess
import sys

import pytest

# What lives at the heap's end holds all that is freed below it. Megabytes before, after it was freed, given back.
SCRIPT = """
from pathlib import Path
from netwright.data.releasing import give_back

def resident():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1000

pieces = [bytearray(b"x" * 100_000) for _ in range(600)]
above = [bytearray(b"x" * 100_000) for _ in range(50)]
full = resident()
del pieces
kept = resident()
give_back()
print(full, kept, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its own house")
def test_what_the_c_library_keeps_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    full, kept, left = map(float, done.stdout.split())
    assert full - kept < 20, "nothing was kept: the test asks nothing"
    assert full - left > 40
