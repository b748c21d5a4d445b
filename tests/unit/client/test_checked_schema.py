"""Schemas of pydantic types allow what the type accepts, and not what it refuses."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import jsonschema_rs
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from genir._patterns import between, integers
from genir._schema import schema_argument
from tests.support.typical_types import TYPES

# Parameters of tests, so they are the same in every process that runs tests.
RANDOM_UUID = "0b5ffb3e-9d6a-4c4e-8e0c-6f4a5a7c2f10"
TIME_UUID = "6f3c1a52-8b1d-11ee-b9d1-0242ac120002"
TODAY = datetime.now(UTC).date()
YEAR = TODAY.year
NOON = datetime.combine(TODAY, time(12), UTC)


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    size: Literal["big", "small"] = "small"


class SmallDog(BaseModel):
    kind: Literal["dog"] = "dog"
    size: Literal["small"] = "small"


class BigDog(BaseModel):
    kind: Literal["dog"] = "dog"
    size: Literal["big"] = "big"


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    count: int = Field(default=0, alias="theCount")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    count: int = 0


class Film(TypedDict, total=False):
    title: str


class Blob(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    data: bytes = Field(min_length=3, max_length=8)


class Hex(BaseModel):
    model_config = ConfigDict(val_json_bytes="hex")
    data: bytes = Field(max_length=2)


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: str = Field(min_length=2)


class Tone(Enum):
    LOW = "low"
    HIGH = "high"


class Level(IntEnum):
    ONE = 1
    TWO = 2


class Share(float, Enum):
    HALF = 0.5


class Plain(Enum):
    A = "a"


class ByEnum(BaseModel):
    kind: Literal[Plain.A] = Plain.A


def keys(kind: Any, **constraints: Any) -> Any:
    return dict[Annotated[kind, Field(**constraints)], int]


def both(**bounds: Any) -> Any:
    return Annotated[Decimal, Field(max_digits=4, decimal_places=2, **bounds)]


def one(*names: str) -> list[dict[str, int]]:
    """A dict for each name."""
    return [{name: 1} for name in names]


def day(offset: int) -> str:
    return (TODAY + timedelta(days=offset)).isoformat()


def tag_of(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else value.kind


class Other(BaseModel):
    kind: Literal["other"] = "other"


ByFunction = Annotated[Other, pydantic.Tag("other")]
Tagged = Annotated[Cat, pydantic.Tag("cat")]
Nested = Annotated[SmallDog | BigDog, Discriminator("size")]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]
Money = Annotated[Decimal, Field(gt=0, decimal_places=2)]

CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (Annotated[Cat | Dog, Discriminator("kind")], [{"kind": "cat"}], [{}, {"size": "big"}]),
    (
        list[Annotated[Cat | Nested, Discriminator("kind")]],
        [[{"kind": "dog", "size": "big"}]],
        [[{"kind": "dog"}], [{"size": "big"}]],
    ),
    (ByName, [{"theCount": 1}, {}], [{"count": "one"}]),
    (Decimal, [1, 1.5, -3], ["abc", ""]),
    (Money, [0.01, 12, 99.5], [0, -1, 0.001, "1.234", "-1"]),
    (
        Annotated[Decimal, Field(max_digits=4, decimal_places=2)],
        ["12.34", "-1"],
        ["123.4", "1.234"],
    ),
    (both(le=1000, lt=5), [4.99, 0, -99.99], [5, 50, 99.99, 100]),
    (both(le=5, lt=1000), [5, -99.99], [5.01, 50]),
    (both(ge=-1000, gt=-5), [-4.99, 99.99], [-5, -50, 100]),
    (both(ge=-5, gt=-1000), [-5, 99.99], [-5.01, -50]),
    (both(le=1000, lt=500), [99.99], [100, 400]),
    (
        Annotated[Decimal, Field(ge=0.5, gt=-3, max_digits=2, decimal_places=2)],
        [0.5, 0.99],
        [0.49, 0, 1],
    ),
    (
        Annotated[Decimal, Field(gt=0.5, ge=-3, max_digits=2, decimal_places=2)],
        [0.51],
        [0.5, 0.2, 1],
    ),
    (Annotated[Decimal, Field(max_digits=4)], ["12.34", "7"], ["12345", "x"]),
    (Annotated[Decimal, Field(ge=-2, le=2, decimal_places=1)], [-2, 0.5], [2.5, 0.25, "9"]),
    (Annotated[Decimal, Field(multiple_of=0.05, ge=0)], [0.15, 3], [0.03, "0.01"]),
    (Annotated[Decimal, Field(ge=0, max_digits=38, decimal_places=18)], [1.5, 12345678], [-1]),
    (
        datetime,
        ["2024-02-29T23:59:59Z", "0001-01-01T00:00:00.123456+23:59"],
        ["0000-01-01T00:00:00Z", "2023-02-29T00:00:00Z", "2016-12-31T23:59:60Z"],
    ),
    (
        pydantic.NaiveDatetime,
        ["2024-02-29T23:59:59", "2024-01-01T00:00:00.5"],
        ["2024-02-29T23:59:59Z", "2023-02-29T00:00:00"],
    ),
    (pydantic.AwareDatetime, ["2024-02-29T23:59:59Z"], ["2024-02-29T23:59:59"]),
    (pydantic.PastDatetime, [f"{YEAR - 1}-06-01T00:00:00Z"], [f"{YEAR + 1}-06-01T00:00:00Z"]),
    (pydantic.FutureDatetime, [f"{YEAR + 1}-06-01T00:00:00Z"], [f"{YEAR - 1}-06-01T00:00:00Z"]),
    (
        Annotated[datetime, Field(ge=datetime(2024, 3, 1, 8, 30, 0, 500000, tzinfo=UTC))],
        ["2024-03-01T08:30:01Z", "2031-01-01T00:00:00Z"],
        ["2024-03-01T08:30:00Z"],
    ),
    (date, ["0001-01-01", "2000-02-29", "9999-12-31"], ["0000-01-01", "1900-02-29", "2024-04-31"]),
    (pydantic.PastDate, [f"{YEAR - 1}-12-31", "0001-01-01"], [f"{YEAR + 1}-01-01"]),
    (pydantic.FutureDate, [f"{YEAR + 1}-02-01"], [f"{YEAR - 1}-02-01"]),
    (
        Annotated[date, Field(gt=date(2024, 2, 28), le=date(2024, 3, 2))],
        ["2024-02-29", "2024-03-02"],
        ["2024-02-28", "2024-03-03", "2023-03-01"],
    ),
    (
        Annotated[pydantic.PastDate, Field(ge=TODAY - timedelta(days=10))],
        [day(-10)],
        [day(-11), day(2), f"{YEAR - 1}-05-05", f"{YEAR + 1}-12-25"],
    ),
    (
        Annotated[pydantic.FutureDate, Field(le=TODAY + timedelta(days=10))],
        [day(10)],
        [day(11), day(-2), f"{YEAR - 1}-12-31", f"{YEAR + 1}-02-05"],
    ),
    (
        Annotated[pydantic.PastDatetime, Field(ge=NOON - timedelta(days=10))],
        [f"{day(-10)}T12:00:00Z"],
        [f"{day(-10)}T11:59:59Z", f"{day(2)}T00:00:00Z", f"{YEAR - 1}-05-05T00:00:00Z"],
    ),
    (
        Annotated[pydantic.FutureDatetime, Field(le=NOON + timedelta(days=10))],
        [f"{day(10)}T12:00:00Z"],
        [f"{day(10)}T12:00:01Z", f"{day(-2)}T00:00:00Z", f"{YEAR + 1}-02-05T00:00:00Z"],
    ),
    (time, ["00:00:00Z", "23:59:59.999999+01:00"], ["23:59:60Z", "24:00:00Z"]),
    (
        Annotated[time, Field(gt=time(9), le=time(17, 30))],
        ["09:00:01Z", "17:30:00Z"],
        ["09:00:00Z", "17:30:01Z", "08:59:59Z"],
    ),
    (timedelta, ["P1D", "PT5M", "P3W", "P1DT2H"], ["P99999999999D", "P", ""]),
    (
        Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(hours=2))],
        ["PT1S", "PT7200S"],
        ["PT0S", "PT7201S", "P1D"],
    ),
    (Annotated[timedelta, Field(lt=timedelta(seconds=-5))], ["-PT6S"], ["-PT5S", "PT6S"]),
    (pydantic.UUID4, [RANDOM_UUID], [TIME_UUID]),
    (uuid.UUID, [TIME_UUID], ["x"]),
    (ipaddress.IPv4Network, ["10.0.0.0/8", "10.1.2.3/32"], ["10.1.2.3/24", "x"]),
    (ipaddress.IPv6Network, ["2001:db8:1::/48"], ["2001:db8::1/32", "x"]),
    (ipaddress.IPv4Interface, ["10.1.2.3/24"], ["10.1.2.3/33", "x"]),
    (ipaddress.IPv6Interface, ["::1/128"], ["::1/129"]),
    (pydantic.IPvAnyAddress, ["10.0.0.1", "::1"], ["x"]),
    (pydantic.IPvAnyNetwork, ["10.0.0.0/8"], ["10.0.0.1/8"]),
    (
        Blob,
        [{"data": base64.urlsafe_b64encode(b"abc").decode()}],
        [{"data": "????"}, {"data": "YQ=="}],
    ),
    (Hex, [{"data": "00ff"}], [{"data": "0"}, {"data": "001122"}]),
    (Annotated[bytes, Field(max_length=3)], ["abc"], ["äää"]),
    (pydantic.Base64Bytes, ["YWJj", "YQ=="], ["YQ"]),
    (pydantic.Base64UrlStr, ["", "YWJj"], ["gICA", "YQ"]),
    (Annotated[pydantic.Base64Str, Field(max_length=4)], ["YWJj"], ["YWJjZGVm"]),
    (Annotated[pydantic.SecretBytes, Field(max_length=2)], ["ab"], ["äb"]),
    (Annotated[Decimal, Field(max_digits=2, decimal_places=2)], ["0.25", "-0.1"], ["0", "1.1"]),
    (Annotated[Decimal, Field(max_digits=2, decimal_places=2, ge=0)], [0.25], [0, 1, 1.5]),
    (Annotated[Decimal, Field(le=Decimal("-0.5"), decimal_places=1)], [-1, -7], [-0.25, 0]),
    (dict[uuid.UUID, int], [{RANDOM_UUID: 1}], [{"x": 1}]),
    (Annotated[ByFunction | Tagged, Discriminator(tag_of)], [{"kind": "cat"}], [{}]),
    (Title, ["abc", "a c"], ["   ", " ab", "\u0085ab"]),
    (Stripped, [{"name": "ab"}], [{"name": " a"}]),
    (pydantic.HttpUrl, ["https://example.com/a?b=c"], ["ftp://example.com", "https://", "x:y"]),
    (pydantic.AnyUrl, ["ftp://example.com/", "mailto:a@b.org"], ["http://[", "http://1.2.3.999/"]),
    (pydantic.PostgresDsn, ["postgresql://db.example.com:5432/a"], ["mysql://db.example.com/a"]),
    (pydantic.EmailStr, ["jane.doe@example.com"], ["jane@host.test", "a@b", '"a b"@example.com']),
    (ZoneInfo, ["Europe/Berlin"], ["Mars/Olympus"]),
    (pydantic.ByteSize, ["12KiB", "3.5MB", 7], ["12 parsecs", -1]),
    (re.Pattern[str], ["^[a-z]+$"], ["(", "*"]),
    (dict[int, bool], [{"-12": True}, {}], [{"a": True}, {"01x": True}]),
    (dict[Tone, bool], [{"low": True}], [{"mid": True}]),
    (dict[Literal["x", "y"], int], [{"x": 1}], [{"z": 1}]),
    (dict[date, int], [{"2024-02-29": 1}], [{"2023-02-29": 1}]),
    (dict[Annotated[str, Field(max_length=2)], int], [{"ab": 1}], [{"abc": 1}]),
    (dict[Annotated[str, Field(pattern="^a")], int], [{"ab": 1}], [{"b": 1}]),
    (dict[bool, int], [{"true": 1}], [{"maybe": 1}]),
    (keys(int, ge=5), one("5", "6", "1000"), one("1", "-5", "a")),
    (keys(int, gt=-12, lt=3), one("-11", "0", "2"), one("-12", "3", "30")),
    (keys(int, le=-3), one("-3", "-40"), one("-2", "0", "3")),
    (keys(float, lt=1), one("0", "0.999", "-0.5", "-7"), one("5", "1", "1.1")),
    (keys(float, gt=0.5), one("1", "1.25"), one("0", "0.5", "0.4", "-1")),
    (keys(float, gt=-1, le=0), one("-0.5", "0"), one("-1", "-1.5", "0.5")),
    (keys(Decimal, ge=5), one("5", "5.01", "17"), one("1", "4.9", "-5")),
    (keys(Decimal, ge=5, decimal_places=1), one("5.1", "6"), one("5.12", "4.9")),
    (keys(Decimal, max_digits=3, decimal_places=1, ge=0), one("99.9"), one("100", "1.25")),
    (dict[Level, int], one("1", "2"), one("3", "low")),
    (dict[Share, int], one("0.5"), one("1.5", "0")),
    (dict[Literal[True, "a"], int], one("true", "a"), one("false", "b")),
    (dict[int | Literal["x"], int], one("5", "x"), one("y", "xx")),
    (dict[Level | Tone, int], one("1", "high"), one("3", "mid")),
    (dict[int | date, int], one("12", "2024-02-29"), one("2023-02-29x", "y")),
    (dict[int | str, int], one("5", "y"), []),
]

NO_KEYS = [
    (dict[Literal[1, 2], int], "does not read as keys"),
    (keys(int, multiple_of=5), "multiples"),
    (keys(float, gt=0.2, lt=0.8), "between two integers"),
    (dict[int | ipaddress.IPv4Address, int], "a union of keys"),
]

EMPTY: list[Any] = [
    Annotated[pydantic.PastDate, Field(ge=TODAY + timedelta(days=3))],
    Annotated[pydantic.FutureDate, Field(le=TODAY)],
    Annotated[pydantic.PastDatetime, Field(ge=NOON + timedelta(days=3))],
    Annotated[pydantic.FutureDatetime, Field(le=NOON - timedelta(days=3))],
    Annotated[date, Field(gt=date(2024, 1, 1), lt=date(2024, 1, 2))],
    Annotated[time, Field(gt=time(23, 59, 59))],
    Annotated[time, Field(ge=time(9), le=time(8))],
    Annotated[timedelta, Field(gt=timedelta(0), lt=timedelta(seconds=1))],
    Annotated[timedelta, Field(ge=timedelta(seconds=-5), le=timedelta(seconds=-10))],
]


@pytest.mark.parametrize(("kind", "accepted", "refused"), CASES, ids=lambda each: repr(each)[:60])
def test_schema_says_what_the_type_checks(
    kind: Any, accepted: list[Any], refused: list[Any]
) -> None:
    text = schema_argument(kind, None).json_schema
    assert text is not None
    schema = json.loads(text)
    valid = jsonschema_rs.validator_for(schema, validate_formats=True).is_valid
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    for each in accepted:
        assert valid(each), (each, schema)
        adapter.validate_json(json.dumps(each))
    for each in refused:
        assert not valid(each), (each, schema)
        with pytest.raises(ValueError, match="validation error"):
            adapter.validate_json(json.dumps(each))


@pytest.mark.parametrize(
    ("kind", "key"), [(ByName, "count"), (Cat, "lives"), (Film, "year"), (Dog, "breed")]
)
def test_keys_that_a_class_would_ignore_are_not_allowed(kind: Any, key: str) -> None:
    schema = json.loads(schema_argument(kind, None).json_schema or "")
    assert not jsonschema_rs.is_valid(schema, {"kind": "cat", key: 1})
    assert jsonschema_rs.is_valid(schema, {})


def test_keys_that_a_class_keeps_are_allowed() -> None:
    schema = json.loads(schema_argument(Open, None).json_schema or "")
    assert jsonschema_rs.is_valid(schema, {"other": 1})


@pytest.mark.parametrize("name", TYPES)
def test_schema_of_a_typical_type_is_valid_and_small(name: str) -> None:
    text = schema_argument(TYPES[name], None).json_schema
    assert text is not None
    jsonschema_rs.validator_for(json.loads(text))
    assert "discriminator" not in text
    assert len(text) < 16_000


@pytest.mark.parametrize(("low", "high"), [(0, 0), (7, 7), (0, 1234), (98, 10_002), (5, 50)])
def test_pattern_of_integers_is_exact(low: int, high: int) -> None:
    pattern = re.compile(integers(low, high))
    assert all(bool(pattern.fullmatch(str(n))) == (low <= n <= high) for n in range(12_000))
    assert not pattern.fullmatch("07")


def test_pattern_of_a_range_of_dates_is_exact() -> None:
    low, high = date(2023, 11, 5), date(2025, 2, 17)
    pattern = re.compile(between(low.isoformat(), high.isoformat()))
    days = (date(2022, 1, 1) + timedelta(days=n) for n in range(2000))
    assert all(bool(pattern.fullmatch(str(day))) == (low <= day <= high) for day in days)


def test_pattern_of_a_range_without_values_is_refused() -> None:
    for low, high in (("2026-02-01", "2025-12-31"), ("5", "4"), ("12:30", "12:29")):
        with pytest.raises(ValueError, match="there is nothing from"):
            between(low, high)
    for least, most in ((5, 4), (100, 9)):
        with pytest.raises(ValueError, match="there is no integer from"):
            integers(least, most)


@pytest.mark.parametrize(("kind", "reason"), NO_KEYS)
def test_keys_that_no_pattern_says_are_refused(kind: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        schema_argument(kind, None)


@pytest.mark.parametrize("kind", EMPTY, ids=lambda each: repr(each)[:60])
def test_bounds_that_leave_nothing_are_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="there is no value"):
        schema_argument(kind, None)


@pytest.mark.parametrize("kind", [ByEnum, Annotated[ByEnum | Other, Discriminator("kind")]])
def test_literal_that_no_json_value_is(kind: Any) -> None:
    if kind is ByEnum:
        with pytest.raises(TypeError, match="an Enum that is not based on str"):
            schema_argument(kind, None)
    else:
        schema = json.loads(schema_argument(kind, None).json_schema or "")
        assert not jsonschema_rs.is_valid(schema, {"kind": "a"})
        assert jsonschema_rs.is_valid(schema, {"kind": "other"})
