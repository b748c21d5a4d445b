"""JSON Schemas of dates, times, durations and time zones. Pure, apart from the current date."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic.errors import PydanticInvalidForJsonSchema

from genir import _patterns

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", date, datetime, timedelta)
Day = TypeVar("Day", date, datetime)

_MAX_SECONDS = 86_400 * 36_500
_SECOND = timedelta(seconds=1)
_BOUNDS = ("ge", "gt", "le", "lt")
_MOMENT = "%Y-%m-%dT%H:%M:%S"


def date_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a date.

    Args:
        schema: pydantic's core schema, with bounds and now_op.

    Raises:
        PydanticInvalidForJsonSchema: no date is within the bounds.

    """
    low, high = _bounds(schema, timedelta(days=1))
    if schema.get("now_op") == "past":
        high = _lower(high, _last_past(low))
    if schema.get("now_op") == "future":
        low = _higher(low, _first_future(high))
    days = _range(low, high, "%Y-%m-%d", date.min, date.max)
    return {"type": "string", "format": "date", "pattern": f"^{days or _patterns.DATE}$"}


def datetime_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a datetime, which has an offset unless the type forbids one.

    Args:
        schema: pydantic's core schema, with bounds, now_op and tz_constraint.

    Raises:
        PydanticInvalidForJsonSchema: no whole second is within the bounds.

    """
    low, high = _bounds(schema, _SECOND)
    low, high = _whole_second(_in_utc(low)), _in_utc(high)
    if schema.get("now_op") == "past":
        high = _lower(high, _midnight(_last_past(low and low.date())))
    if schema.get("now_op") == "future":
        low = _higher(low, _midnight(_first_future(high and high.date())))
    first, last = _midnight(date.min), datetime.combine(date.max, time.max)
    seconds = _range(low, high, _MOMENT, first, last)
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

    Raises:
        PydanticInvalidForJsonSchema: no whole second is within the bounds.

    """
    on_a_day = {key: _on_a_day(schema[key]) for key in _BOUNDS if schema.get(key) is not None}
    low, high = _bounds(on_a_day, _SECOND)
    made: dict[str, Any] = {"type": "string"}
    first, last = _on_a_day(time.min), _on_a_day(time.max)
    seconds = _range(_whole_second(low), high, "%H:%M:%S", first, last)
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

    Raises:
        PydanticInvalidForJsonSchema: no whole second is within the bounds.

    """
    made = {"type": "string", "format": "duration"}
    low, high = _bounds(schema, timedelta(microseconds=1))
    if low is None and high is None:
        return made | {"pattern": _patterns.DURATION}
    first = 0 if low is None else max(0, ceil(low.total_seconds()))
    last = max(first, _MAX_SECONDS) if high is None else floor(high.total_seconds())
    if last < 0:  # Only negative ones, which the format does not have.
        first = -last
        last = max(first, _MAX_SECONDS) if low is None else -ceil(low.total_seconds())
        made, sign = {"type": "string"}, "-"
    else:
        sign = ""
    if first > last:
        raise _nothing_between(low, high)
    return made | {"pattern": f"^{sign}PT{_patterns.integers(first, last)}S$"}


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


def _last_past(low: date | None) -> date:
    """The last day that is in the past in every time zone.

    It leaves out the current year, so that the schema stays the same for a year: servers cache
    schemas. Only where `low` would leave nothing, it is of the current year.
    """
    today = datetime.now(UTC).date()
    day = date(today.year - 1, 12, 31)
    return day if low is None or low <= day else today - timedelta(days=2)


def _first_future(high: date | None) -> date:
    """The first day that is in the future in every time zone, like `_last_past`."""
    today = datetime.now(UTC).date()
    day = date(today.year + 1, 1, 2)
    return day if high is None or high >= day else today + timedelta(days=2)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _range(low: Day | None, high: Day | None, form: str, first: Day, last: Day) -> str | None:
    """A pattern of the texts from `low` to `high`, in `first` to `last`; None without a bound."""
    if low is None and high is None:
        return None
    lowest, highest = _higher(low, first), _lower(high, last)
    if lowest > highest:
        raise _nothing_between(low, high)
    return _patterns.between(_text(lowest, form), _text(highest, form))


def _nothing_between(low: object, high: object) -> PydanticInvalidForJsonSchema:
    bounds = [f"from {low}"] if low is not None else []
    bounds += [f"to {high}"] if high is not None else []
    return PydanticInvalidForJsonSchema(f"there is no value {' '.join(bounds)}")


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
