"""Types as callers of pydantic write them, with constraints that its JSON Schemas leave out."""

from __future__ import annotations

import enum
import ipaddress
import re
import uuid
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    UUID4,
    AliasChoices,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    Base64Str,
    BaseModel,
    ByteSize,
    ConfigDict,
    EmailStr,
    Field,
    FutureDate,
    FutureDatetime,
    HttpUrl,
    IPvAnyAddress,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    PostgresDsn,
    RootModel,
    SecretBytes,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    conint,
    conlist,
)
from typing_extensions import TypedDict

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: conint(ge=0, le=150)  # type: ignore[valid-type]
    nickname: str | None = Field(default=None, max_length=10)


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool = True


class Parrot(BaseModel):
    kind: Literal["bird"] = "bird"
    species: Literal["parrot"] = "parrot"
    words: int = Field(default=0, ge=0, le=99)


class Owl(BaseModel):
    kind: Literal["bird"] = "bird"
    species: Literal["owl"] = "owl"


Bird = Annotated[Parrot | Owl, Field(discriminator="species")]


class Household(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: list[Annotated[Cat | Dog | Bird, Field(discriminator="kind")]] = Field(max_length=2)


class First(BaseModel):
    type_: Literal["first"] = Field(default="first", alias="type")


class Second(BaseModel):
    type_: Literal["second"] = Field(default="second", alias="type")


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    kind: First | Second = Field(discriminator="type_", validation_alias="theKind")
    count: int = Field(default=1, alias="theCount", ge=0, le=9)
    either: bool = Field(default=True, validation_alias=AliasChoices("one", "two"))


class Invoice(BaseModel):
    total: Decimal
    net: Decimal = Field(gt=0, decimal_places=2)
    tax: Decimal = Field(ge=0, le=1, max_digits=5, decimal_places=4)
    balance: Decimal = Field(max_digits=8, decimal_places=2)
    shares: Decimal = Field(max_digits=6)
    ratio: Decimal = Field(multiple_of=0.25, ge=0, le=10)
    change: Decimal = Field(ge=-5, le=5, decimal_places=1)


class Moments(BaseModel):
    at: datetime
    aware: AwareDatetime
    naive: NaiveDatetime
    past: PastDatetime
    future: FutureDatetime


class Days(BaseModel):
    day: date
    born: PastDate
    due: FutureDate
    in_spring: date = Field(ge=date(2024, 3, 1), lt=date(2024, 6, 1))
    this_century: date = Field(ge=date(2001, 1, 1))


class Shifts(BaseModel):
    start: time
    lunch: time = Field(ge=time(11, 30), lt=time(14))
    session: datetime = Field(
        ge=datetime(2024, 3, 1, 8, 30, tzinfo=UTC), le=datetime(2025, 2, 1, tzinfo=UTC)
    )


class Waits(BaseModel):
    any_time: timedelta
    short: timedelta = Field(gt=timedelta(0), le=timedelta(minutes=90))
    at_least: timedelta = Field(ge=timedelta(seconds=1.5))


class Ids(BaseModel):
    any_id: uuid.UUID
    random: UUID4


class Addresses(BaseModel):
    v4: ipaddress.IPv4Address
    v6: ipaddress.IPv6Address
    either: IPvAnyAddress
    net: ipaddress.IPv4Network
    net6: ipaddress.IPv6Network
    interface: ipaddress.IPv4Interface


class Secrets(BaseModel):
    password: SecretStr = Field(min_length=8, max_length=20)
    key: SecretBytes = Field(max_length=8)


class Blobs(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64")
    blob: bytes = Field(max_length=12)
    short: bytes = Field(min_length=2, max_length=7)


class Texts(BaseModel):
    raw: bytes = Field(max_length=6)
    encoded: Base64Bytes = Field(max_length=12)
    text: Base64Str = Field(max_length=12)
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}\d{3}$")]
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=12)]
    word: Annotated[str, StringConstraints(strip_whitespace=True, pattern="^.{2,9}$")]
    lower: Annotated[str, StringConstraints(to_lower=True, min_length=1, max_length=9)]


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, str_min_length=2, str_max_length=9)
    one: str
    many: list[str] = Field(max_length=3)


class Collections(BaseModel):
    pair: tuple[int, bool]
    three: conlist(int, min_length=1, max_length=3)  # type: ignore[valid-type]
    unique: set[Literal["a", "b", "c"]] = Field(max_length=3)
    frozen: frozenset[Color] = Field(max_length=2)


class Tables(BaseModel):
    by_number: dict[int, bool] = Field(max_length=2)
    by_color: dict[Color, bool]
    by_name: dict[Literal["x", "y"], bool]
    by_day: dict[date, bool] = Field(max_length=2)
    by_key: dict[Annotated[str, Field(min_length=2, max_length=3)], bool] = Field(max_length=2)
    by_code: dict[Annotated[str, Field(pattern="^[a-c]{2}$")], bool] = Field(max_length=2)
    counts: Counter[Literal["up", "down"]]
    ordered: OrderedDict[int, bool] = Field(max_length=1)


class Enums(BaseModel):
    color: Color
    level: Level
    mixed: Literal["a", 1, True] | None
    flag: bool


class Links(BaseModel):
    home: HttpUrl
    any_url: AnyUrl
    database: PostgresDsn


class Contact(BaseModel):
    email: EmailStr
    zone: ZoneInfo


class Odd(BaseModel):
    size: ByteSize
    pattern: re.Pattern[str]
    part: Fraction
    point: complex


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    number: int = Field(ge=0, le=9)
    share: float = Field(gt=0, lt=1)
    day: date
    id: uuid.UUID
    color: Color


class Node(BaseModel):
    value: int = Field(ge=0, le=9)
    left: Node | None = None
    right: Node | None = None


class Page(BaseModel, Generic[T]):
    items: list[T] = Field(max_length=2)
    next_page: int | None = Field(default=None, ge=0, le=99)


class Tags(RootModel[list[Annotated[str, Field(min_length=1, max_length=8)]]]):
    root: list[Annotated[str, Field(min_length=1, max_length=8)]] = Field(max_length=3)


@dataclass
class Step:
    action: Literal["go", "stop"]
    seconds: float = field(default=1.0)


@dataclass
class Plan:
    steps: Annotated[list[Step], Field(max_length=3)]
    deadline: date | None = None


class Movie(TypedDict, total=False):
    title: Annotated[str, Field(max_length=20)]
    released: date
    price: Decimal


class Position(NamedTuple):
    x: int
    y: int = 0


TYPES: dict[str, Any] = {
    "model": Person,
    "tagged union": Household,
    "aliases": Aliased,
    "decimals": Invoice,
    "datetimes": Moments,
    "dates": Days,
    "times": Shifts,
    "durations": Waits,
    "UUIDs": Ids,
    "IP addresses": Addresses,
    "secrets": Secrets,
    "base64 bytes": Blobs,
    "texts": Texts,
    "stripped texts": Stripped,
    "collections": Collections,
    "dict keys": Tables,
    "enumerations": Enums,
    "URLs": Links,
    "contact": Contact,
    "odd types": Odd,
    "strict model": Strict,
    "recursive model": Node,
    "generic model": Page[Person],
    "root model": Tags,
    "dataclass": Plan,
    "TypedDict": Movie,
    "named tuple": Position,
    "list of models": Annotated[list[Person], Field(max_length=2)],
    "union of models": Cat | Person,
    "tagged union as a type": Annotated[Cat | Dog, Field(discriminator="kind")],
    "adapter": TypeAdapter(Literal["yes", "no"] | Decimal),
    "dict of models": dict[Color, Step],
}
