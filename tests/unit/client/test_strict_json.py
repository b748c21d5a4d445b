from __future__ import annotations

import pytest

from genir import _strict_json


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("1" + "0" * 21, "1e+21"),
        ("-1" + "0" * 23, "-1e+23"),
        ("17976931348623157" + "0" * 292, "1.7976931348623157e+308"),
    ],
)
def test_all_digits_of_a_large_double_are_the_same_number(digits: str, number: str) -> None:
    assert _strict_json.same(_strict_json.read(f"[{digits}]"), _strict_json.read(f"[{number}]"))


@pytest.mark.parametrize("digits", ["1" * 22, "1000000000000000000001", "9" * 309, "9" * 5000])
def test_digits_that_a_double_does_not_keep_are_refused(digits: str) -> None:
    with pytest.raises(ValueError, match="more than 21 digits"):
        _strict_json.read(digits)
