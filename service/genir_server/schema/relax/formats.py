"""The formats of JSON Schema: those that the engine enforces, and patterns for others."""

from __future__ import annotations

ENGINE_FORMATS = frozenset({"duration", "ipv4", "uuid", "uri"})
"""Formats for which engine and verifier agree."""

STANDARD_FORMATS = ENGINE_FORMATS | {
    "date",
    "date-time",
    "email",
    "hostname",
    "ipv6",
    "time",
    "idn-email",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
}
"""Formats that any draft defines. Any other format is an annotation."""

_COMMON_YEAR = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = f"(?:[0-9]{{4}}-(?:{_COMMON_YEAR})|{_LEAP_YEAR}-02-29)"
_OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
# A leap second is the last second of a day in UTC. With an offset, no short pattern says when.
_ANY_TIME = rf"{_MINUTE}:(?:[0-5][0-9]|60)(?:\.[0-9]+)?{_OFFSET}"
_USUAL_TIME = (
    rf"(?:{_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?{_OFFSET}"
    r"|23:59:60(?:\.[0-9]{1,9})?(?:[Zz]|[+-]00:00))"
)
_ALNUM, _INNER = "[A-Za-z0-9]", "[A-Za-z0-9-]"
# Up to 63 characters, hyphens only inside, and no "--" as third and fourth character, which is
# reserved for internationalized names (RFC 5890).
_LABEL = (
    f"{_ALNUM}(?:{_ALNUM}|{_INNER}(?:{_ALNUM}(?:{_INNER}{{0,59}}{_ALNUM})?"
    f"|-{_ALNUM}(?:{_INNER}{{0,58}}{_ALNUM})?))?"
)
_GROUP = "[0-9A-Fa-f]{1,4}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LAST = rf"(?:{_GROUP}:{_GROUP}|{_OCTET}(?:\.{_OCTET}){{3}})"
# RFC 3986, appendix A: by the number of groups before "::".
_IPV6 = "|".join(
    (
        f"(?:{_GROUP}:){{6}}{_LAST}",
        f"::(?:{_GROUP}:){{5}}{_LAST}",
        *(
            f"(?:(?:{_GROUP}:){{0,{before}}}{_GROUP})?::(?:{_GROUP}:){{{4 - before}}}{_LAST}"
            for before in range(5)
        ),
        f"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}",
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    )
)
# RFC 5321: up to 64 characters before the @, up to 255 after it. A pattern can only say that for a
# few dots.
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_MAILBOX = (
    rf"{_ATOM}{{1,64}}|{_ATOM}{{1,31}}\.{_ATOM}{{1,32}}|{_ATOM}{{1,16}}(?:\.{_ATOM}{{1,15}}){{2,3}}"
)

_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_SHORT_PREFIX, _LONG_PREFIX = "(?:[12]?[0-9]|3[0-2])", "(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])"
_INTERFACE4, _INTERFACE6 = f"{_IPV4}(?:/{_SHORT_PREFIX})?", f"(?:{_IPV6})(?:/{_LONG_PREFIX})?"
_USUAL_NETWORK4 = "|".join(
    rf"{_OCTET}(?:\.{_OCTET}){{{octets - 1}}}(?:\.0){{{4 - octets}}}/{8 * octets}"
    for octets in range(1, 5)
)
_USUAL_NETWORK6 = "|".join(
    f"{_GROUP}(?::{_GROUP}){{{groups - 1}}}::/{16 * groups}" for groups in range(1, 8)
)

EXACT_PATTERNS = {
    "date": f"^{_DATE}$",
    "ipv6": f"^(?:{_IPV6})$",
    "json-pointer": r"^(?:/(?:[^~/]|~[01])*)*$",
    "relative-json-pointer": r"^(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*)*)$",
    **{
        f"uuid{version}": (
            f"^[0-9A-Fa-f]{{8}}-[0-9A-Fa-f]{{4}}-{version}[0-9A-Fa-f]{{3}}"
            "-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$"
        )
        for version in range(1, 9)
    },
    "ipvanyaddress": f"^(?:{_IPV4}|{_IPV6})$",
    "ipv4interface": f"^{_INTERFACE4}$",
    "ipv6interface": f"^{_INTERFACE6}$",
    "ipvanyinterface": f"^(?:{_INTERFACE4}|{_INTERFACE6})$",
}

WIDE_PATTERNS = {
    "date-time": f"^{_DATE}[Tt]{_ANY_TIME}$",
    "time": f"^{_ANY_TIME}$",
    "email": "^.+@.+$",
    "hostname": r"^[A-Za-z0-9.-]{1,253}$",
    "ipv4network": f"^{_INTERFACE4}$",
    "ipv6network": f"^{_INTERFACE6}$",
    "ipvanynetwork": f"^(?:{_INTERFACE4}|{_INTERFACE6})$",
}
"""Patterns that every text of the format matches, and some other texts too."""

_SECONDS = "a leap second in UTC only, and at most nine digits of a fraction"

USUAL_FORMS: dict[str, tuple[dict[str, object], str]] = {
    "date-time": ({"pattern": f"^{_DATE}[Tt]{_USUAL_TIME}$"}, _SECONDS),
    "time": ({"pattern": f"^{_USUAL_TIME}$"}, _SECONDS),
    "email": (
        {"pattern": rf"^(?:{_MAILBOX})@{_LABEL}(?:\.{_LABEL}){{0,3}}$"},
        "no quotes or brackets, at most three dots on a side, no internationalized domain",
    ),
    "hostname": (
        {"pattern": rf"^{_LABEL}(?:\.{_LABEL})*$", "maxLength": 253},
        "no label with -- as third and fourth character, as internationalized names have",
    ),
    "ipv4network": (
        {"pattern": f"^(?:{_USUAL_NETWORK4})$"},
        "a prefix of 8, 16, 24 or 32 bits, with zeros after it",
    ),
    "ipv6network": (
        {"pattern": f"^(?:{_USUAL_NETWORK6})$"},
        "a prefix of whole groups, with :: after it",
    ),
    "ipvanynetwork": (
        {"pattern": f"^(?:{_USUAL_NETWORK4}|{_USUAL_NETWORK6})$"},
        "a prefix of whole octets or groups, with zeros or :: after it",
    ),
}
"""Keywords that only texts of the format match, and what of the format they exclude."""
