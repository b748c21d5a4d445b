"""JSON Schemas of dates, times, durations and time zones. Pure, apart from the current date."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any, TypeVar

from genir import _patterns

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", date, datetime, timedelta)

_FIRST_DAY, _LAST_DAY = "0001-01-01", "9999-12-31"
_MAX_SECONDS = 86_400 * 36_500
_SECOND = timedelta(seconds=1)
_BOUNDS = ("ge", "gt", "le", "lt")
_MOMENT = "%Y-%m-%dT%H:%M:%S"


def date_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a date.

    Args:
        schema: pydantic's core schema, with bounds and now_op.

    """
    low, high = _bounds(schema, timedelta(days=1))
    # Whole years, so that the schema stays the same for a year: servers cache schemas.
    year = datetime.now(UTC).year
    if schema.get("now_op") == "past":
        high = _lower(high, date(year - 1, 12, 31))
    if schema.get("now_op") == "future":
        low = _higher(low, date(year + 1, 1, 2))
    days = _range(low, high, "%Y-%m-%d", _FIRST_DAY, _LAST_DAY)
    return {"type": "string", "format": "date", "pattern": f"^{days or _patterns.DATE}$"}


def datetime_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a datetime, which has an offset unless the type forbids one.

    Args:
        schema: pydantic's core schema, with bounds, now_op and tz_constraint.

    """
    low, high = _bounds(schema, _SECOND)
    low, high = _whole_second(_in_utc(low)), _in_utc(high)
    year = datetime.now(UTC).year
    if schema.get("now_op") == "past":
        high = _lower(high, _midnight(year - 1, 12, 31))
    if schema.get("now_op") == "future":
        low = _higher(low, _midnight(year + 1, 1, 2))
    seconds = _range(low, high, _MOMENT, f"{_FIRST_DAY}T00:00:00", f"{_LAST_DAY}T23:59:59")
    zone = schema.get("tz_constraint")
    if zone == "naive":
        offset = ""
    elif seconds or isinstance(zone, int):
        offset = "Z" if not isinstance(zone, int) else _offset(zone)
    else:
        offset = _patterns.OFFSET
    any_moment = f"^{_patterns.DATE}T{_patterns.CLOCK}"
    made: dict[str, Any] = {"type": "string"}
    if offset:
        made["format"] = "date-time"
    if seconds is None:
        return made | {"pattern": f"{any_moment}{_patterns.FRACTION}{offset}$"}
    return made | {"pattern": f"{any_moment}{offset}$", "allOf": [{"pattern": f"^{seconds}"}]}


def time_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a time of day.

    Args:
        schema: pydantic's core schema, with bounds and tz_constraint.

    """
    on_a_day = {key: _on_a_day(schema[key]) for key in _BOUNDS if schema.get(key) is not None}
    low, high = _bounds(on_a_day, _SECOND)
    made: dict[str, Any] = {"type": "string"}
    seconds = _range(_whole_second(low), high, "%H:%M:%S", "00:00:00", "23:59:59")
    if schema.get("tz_constraint") == "naive":
        offset = ""
    else:
        made["format"] = "time"
        offset = "Z" if seconds else _patterns.OFFSET
    if seconds is None:
        return made | {"pattern": f"^{_patterns.CLOCK}{_patterns.FRACTION}{offset}$"}
    pattern = f"^{_patterns.CLOCK}{offset}$"
    return made | {"pattern": pattern, "allOf": [{"pattern": f"^{seconds}"}]}


def timedelta_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a timedelta, which is not negative.

    Args:
        schema: pydantic's core schema, with bounds.

    """
    made = {"type": "string", "format": "duration"}
    low, high = _bounds(schema, timedelta(microseconds=1))
    if low is None and high is None:
        return made | {"pattern": _patterns.DURATION}
    first = 0 if low is None else max(0, ceil(low.total_seconds()))
    last = _MAX_SECONDS if high is None else floor(high.total_seconds())
    if last < 0:  # Only negative ones, which the format does not have.
        first, last = -last, -(-_MAX_SECONDS if low is None else ceil(low.total_seconds()))
        return {"type": "string", "pattern": f"^-PT{_patterns.integers(first, last)}S$"}
    return made | {"pattern": f"^PT{_patterns.integers(first, max(first, last))}S$"}


@cache
def time_zones() -> list[str]:
    """The names of all time zones that `zoneinfo` knows; empty without a database of them."""
    return sorted(zoneinfo.available_timezones())


def _bounds(schema: Mapping[str, Any], step: timedelta) -> tuple[Any, Any]:
    """The lowest and the highest value; None for no bound. `step` is their resolution."""
    low, high = schema.get("ge"), schema.get("le")
    above, below = schema.get("gt"), schema.get("lt")
    if above is not None:
        low = _higher(low, above + step)
    if below is not None:
        high = _lower(high, below - step)
    return low, high


def _higher(bound: T | None, other: T) -> T:
    return other if bound is None else max(bound, other)


def _lower(bound: T | None, other: T) -> T:
    return other if bound is None else min(bound, other)


def _midnight(year: int, month: int, day: int) -> datetime:
    return datetime.combine(date(year, month, day), time())


def _range(low: date | None, high: date | None, form: str, first: str, last: str) -> str | None:
    """A pattern of the texts from `low` to `high`; None without a bound."""
    if low is None and high is None:
        return None
    return _patterns.between(
        first if low is None else _text(low, form), last if high is None else _text(high, form)
    )


def _text(value: date, form: str) -> str:
    # strftime does not write four digits of a year below 1000 everywhere.
    return value.strftime(form.replace("%Y", f"{value.year:04}"))


def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None)


def _on_a_day(moment: time) -> datetime:
    return datetime.combine(date(2000, 1, 1), moment.replace(tzinfo=None))


def _whole_second(moment: datetime | None) -> datetime | None:
    """The first whole second from then on."""
    if moment is None or not moment.microsecond:
        return moment
    return moment.replace(microsecond=0) + _SECOND


def _offset(seconds: int) -> str:
    sign = "-" if seconds < 0 else "[+]"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{sign}{hours:02}:{minutes:02}"
