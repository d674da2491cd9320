import math

import pytest

from keras_nas.report import text


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (text.milliseconds, 7.9434, "7.943 ms"),
        (text.milliseconds, 123.46, "123.5 ms"),
        (text.milliseconds, 0.012345, "0.01235 ms"),
        (text.milliseconds, 0.0, "0.000 ms"),
        (text.count, 56_312_000, "56.3 M"),
        (text.count, 1_350_000, "1.35 M"),
        (text.count, 2.5e9, "2.50 G"),
        (text.count, 950, "950"),
        (text.file_size, 5_310_000, "5.31 MB"),
        (text.file_size, 900, "900 B"),
        (text.duration, 12.34, "12.3 s"),
        (text.duration, 59.96, "1 min 00 s"),
        (text.duration, 245, "4 min 05 s"),
        (text.duration, 7500, "2 h 05 min"),
        (text.percent, 0.97849, "97.8%"),
        (text.signed_percent, -0.012, "-1.2%"),
        (text.milliseconds, None, "–"),
        (text.count, None, "–"),
    ],
)
def test_numbers_as_people_read_them(function, value, expected):
    assert function(value) == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "1", True, [1.0], {}])
def test_what_is_no_finite_number_is_none(value):
    assert text.finite(value) is None


def test_lookup_follows_keys_as_far_as_they_go():
    value = {"a": {"b": 2}}
    assert text.number(value, "a", "b") == 2.0
    assert text.number(value, "a", "c") is None
    assert text.number(value, "a", "b", "c") is None
