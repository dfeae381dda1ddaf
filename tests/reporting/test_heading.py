"""The beginning of a report: its interval of a share."""

import pytest

from netwright.reporting import heading


def test_wilsons_interval_agrees_with_known_values() -> None:
    assert heading.wilson(0, 0) == (0.0, 1.0)
    assert heading.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe (1998), table I
    assert heading.wilson(10, 10)[1] == 1.0
