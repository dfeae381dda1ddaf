"""Cells of tables: dates against the calendar of the standard library."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.cells import date_features, parse_dates


@settings(max_examples=60, deadline=None)
@given(st.datetimes(datetime.datetime(1600, 1, 1), datetime.datetime(2400, 1, 1)))
def test_features_of_a_date(moment: datetime.datetime) -> None:
    """Against the standard library's calendar."""
    moment = moment.replace(microsecond=0)
    dates = parse_dates([moment.isoformat(), moment.isoformat(" "), moment.isoformat() + "+02:00", "?"])
    assert dates is not None
    assert np.isnat(dates[3])
    assert dates[0] == dates[1] == dates[2] == np.datetime64(moment, "ms")
    features = {name: float(values[0]) for name, values in date_features(dates).items()}
    start, end = (datetime.datetime(moment.year + more, 1, 1) for more in (0, 1))
    in_day = (moment - moment.replace(hour=0, minute=0, second=0)).total_seconds() / 86400
    circles = {
        "year": (moment - start) / (end - start), "week": (moment.weekday() + in_day) / 7, "day": in_day,
    }  # fmt: skip
    assert features["years"] == pytest.approx(moment.year - 2000 + circles["year"], abs=1e-9)
    for name, place in circles.items():
        assert features[f"{name}-sin"] == pytest.approx(np.sin(2 * np.pi * place), abs=1e-9)
        assert features[f"{name}-cos"] == pytest.approx(np.cos(2 * np.pi * place), abs=1e-9)


@pytest.mark.parametrize(
    "text", ["2016-13", "2016-02-30", "16-01-01", "2016-1-1", "today", "2016-01-01 25:00", "2016", ""]
)
def test_what_is_no_date(text: str) -> None:
    assert parse_dates([text]) is None
