"""Patterns of texts that Python's types accept, where no format of JSON Schema says it. Pure.

They are narrow on purpose: every text of a pattern must be accepted, but not every accepted text
must match it.
"""

from __future__ import annotations

import re

# The package email-validator refuses .arpa, .invalid, .local, .localhost, .onion and .test.
_TOP = "(?:[a-z]{2,3}|info|name|tech|cloud|email|online|store)"
_EMAIL = rf"[a-z0-9]{{1,20}}(?:[._+-][a-z0-9]{{1,20}}){{0,2}}@(?:[a-z0-9]{{1,30}}\.){{1,3}}{_TOP}"
# No label with "--", which may announce an internationalized name, and a last one of letters, so
# that the host is no unfinished IP address.
_HOST = r"(?:[a-z][a-z0-9]{0,20}(?:-[a-z0-9]{1,20})?\.){1,3}[a-z]{2,10}"
_PORT = "(?::[1-9][0-9]{1,3})?"
_PATH = "(?:/[A-Za-z0-9._~-]{1,40}){0,4}/?"
_FIELD = "[A-Za-z0-9_]{1,16}=[A-Za-z0-9_.-]{0,24}"
_QUERY = rf"(?:\?{_FIELD}(?:&{_FIELD}){{0,2}})?"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "[0-9a-f]{1,4}"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6 = rf"(?:{_GROUP}(?::{_GROUP}){{7}}|{_GROUP}(?::{_GROUP}){{0,3}}::{_GROUP}|::1)"
# All bits of the host must be 0, so the prefixes are whole bytes or groups.
_IPV4_NETWORK = (
    rf"(?:{_OCTET}\.0\.0\.0/8|{_OCTET}\.{_OCTET}\.0\.0/16|(?:{_OCTET}\.){{3}}0/24|{_IPV4}/32)"
)
_IPV6_NETWORK = rf"(?:{_GROUP}(?::{_GROUP}){{2}}::/48|{_GROUP}(?::{_GROUP}){{3}}::/64|{_IPV6}/128)"
_IPV4_INTERFACE = f"{_IPV4}/(?:[12]?[0-9]|3[0-2])"
_IPV6_INTERFACE = f"{_IPV6}/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])"

FORMATS = {
    "email": f"^{_EMAIL}$",
    "name-email": f"^{_EMAIL}$",
    "ipv4network": f"^{_IPV4_NETWORK}$",
    "ipv6network": f"^{_IPV6_NETWORK}$",
    "ipv4interface": f"^{_IPV4_INTERFACE}$",
    "ipv6interface": f"^{_IPV6_INTERFACE}$",
    "ipvanyaddress": f"^(?:{_IPV4}|{_IPV6})$",
    "ipvanynetwork": f"^(?:{_IPV4_NETWORK}|{_IPV6_NETWORK})$",
    "ipvanyinterface": f"^(?:{_IPV4_INTERFACE}|{_IPV6_INTERFACE})$",
    "color": "^#[0-9a-f]{6}$",
    "regex": r"^\^?(?:(?:[A-Za-z0-9_ ]|\\[dws.]|\.|\[a-z\]|\[A-Z\]|\[0-9\])[*+?]?){1,40}\$?$",
    "fraction": "^-?[0-9]{1,9}(?:/[1-9][0-9]{0,8})?$",
}
"""Patterns for formats that pydantic's own types have, and for those it reads more strictly."""

COMMON_DAYS = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
DATE = f"(?:{_YEAR}-{COMMON_DAYS}|{_LEAP_YEAR}-02-29)"
"""Every day that `datetime.date` has: JSON Schema's format also has those of the year 0."""
CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
"""Every second of a day. JSON Schema's format also has leap seconds, which Python does not."""
FRACTION = r"(?:\.[0-9]{1,6})?"
OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

# The digits of base64 whose second lowest bit is 0, so that the byte after them is below 128.
_EVEN_PAIRS = "[ABEFIJMNQRUVYZcdghklopstwx014589]"
DURATION = (
    "^P(?:[0-9]{1,3}W|[0-9]{1,5}D(?:T[0-9]{1,2}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?)?"
    "|T(?:[0-9]{1,4}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?|[0-9]{1,4}M(?:[0-9]{1,2}S)?|[0-9]{1,6}S))$"
)
COMPLEX = r"^-?[0-9]{1,9}(?:\.[0-9]{1,9})?[+-][0-9]{1,9}(?:\.[0-9]{1,9})?j$"
BYTE_SIZE = r"^[0-9]{1,6}(?:\.[0-9]{1,2})?(?:[KMGT]i?)?B$"
NO_SPACE_AROUND = r"^(?:[^\s\u0085](?:[\s\S]*[^\s\u0085])?)?$"
PRINTABLE_ASCII = "^[ -~]*$"
_HEX = "[0-9a-f]"
KEY_UUID = f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"
KEY_INTEGER = "^(?:0|-?[1-9][0-9]{0,14})$"
KEY_NUMBER = r"^-?(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?$"


def between(low: str, high: str) -> str:
    """A pattern of the texts from `low` to `high`, in which other digits may be.

    Both have the same length, and digits at the same places, such as two dates.

    Raises:
        ValueError: `low` is above `high`.

    """
    if low > high:
        msg = f"there is nothing from {low} to {high}"
        raise ValueError(msg)
    if not low:
        return ""
    if low[0] == high[0]:
        return low[0] + between(low[1:], high[1:])
    zeros, nines = re.sub("[0-9]", "0", low[1:]), re.sub("[0-9]", "9", low[1:])
    first, last = int(low[0]), int(high[0])
    parts = []
    if low[1:] != zeros:
        parts.append(low[0] + between(low[1:], nines))
        first += 1
    if high[1:] != nines:
        parts.append(high[0] + between(zeros, high[1:]))
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}]" + re.sub("[0-9]", "[0-9]", zeros))
    return f"(?:{'|'.join(parts)})"


def integers(low: int, high: int) -> str:
    """A pattern of the integers from `low`, which is 0 or more, to `high`.

    Raises:
        ValueError: `low` is above `high`.

    """
    if low > high:
        msg = f"there is no integer from {low} to {high}"
        raise ValueError(msg)
    first, last = len(str(low)), len(str(high))
    parts = []
    if first == last:
        parts.append(between(str(low), str(high)))
    else:
        parts.append(between(str(low), "9" * first))
        if last - first > 1:
            parts.append(f"[1-9][0-9]{{{first},{last - 2}}}")
        parts.append(between("1" + "0" * (last - 1), str(high)))
    return f"(?:{'|'.join(parts)})"


def digits(whole: int, places: int) -> str:
    """A pattern of decimal numbers with a maximum of digits before and after the point."""
    if whole <= 0:  # pydantic counts the 0 of "0", but not that of "0.5".
        return rf"^-?0\.[0-9]{{1,{places}}}$"
    after = rf"(?:\.[0-9]{{1,{places}}})?" if places > 0 else ""
    return f"^-?(?:0|[1-9][0-9]{{0,{whole - 1}}}){after}$"


def base64(letters: str, low: int, high: int | None) -> str:
    """A pattern of the base64 text of so many bytes, with `letters` as last two of the alphabet.

    Only whole groups of three bytes where the number of bytes is bounded.
    """
    one = f"[A-Za-z0-9{letters}]"
    group = f"(?:{one}{{4}})"
    if low or high is not None:
        most = "" if high is None else str(high // 3)
        return f"^{group}{{{-(-low // 3)},{most}}}$"
    return f"^{group}*(?:{one}[AQgw]==|{one}{{2}}[AEIMQUYcgkosw048]=)?$"


def base64_ascii(letters: str, low: int, high: int | None) -> str:
    """A pattern of the base64 text of ASCII texts, whose lengths are those of whole groups."""
    group = rf"(?:[A-Za-f][A-HQ-Xg-nw-z0-3]{_EVEN_PAIRS}[A-Za-z0-9{letters}])"
    most = "" if high is None else str(high // 3)
    return f"^{group}{{{-(-low // 3)},{most}}}$"


def uuid(version: int) -> str:
    """A pattern of the UUIDs of a version."""
    return f"^{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}$"


def url(schemes: list[str]) -> str:
    """A pattern of URLs with a host and one of the schemes; of any common scheme without one."""
    if not schemes:
        return f"^(?:(?:https?|ftp|wss?)://{_HOST}{_PORT}{_PATH}{_QUERY}|mailto:{_EMAIL})$"
    names = "|".join(re.sub(r"([.+])", r"\\\1", scheme) for scheme in schemes)
    return f"^(?:{names})://{_HOST}{_PORT}{_PATH}{_QUERY}$"
