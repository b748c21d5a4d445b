"""The formats of JSON Schema: which the engine enforces and which can be written as patterns."""

from __future__ import annotations

ENGINE_FORMATS = frozenset({"duration", "ipv4", "uuid", "uri"})
"""What the engine enforces exactly. Of others it has another idea than the verifier."""

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
"""What the drafts define, in any of them. Any other format is an annotation."""

_COMMON_YEAR = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = f"(?:[0-9]{{4}}-(?:{_COMMON_YEAR})|{_LEAP_YEAR}-02-29)"
_OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
# A leap second is the last of a day in UTC: beside an offset, what it may be depends on all digits.
_ANY_TIME = rf"{_MINUTE}:(?:[0-5][0-9]|60)(?:\.[0-9]+)?{_OFFSET}"
_USUAL_TIME = (
    rf"(?:{_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?{_OFFSET}"
    r"|23:59:60(?:\.[0-9]{1,9})?(?:[Zz]|[+-]00:00))"
)
_ALNUM, _INNER = "[A-Za-z0-9]", "[A-Za-z0-9-]"
# At most 63 characters, hyphens inside only, and not two of them in third and fourth place, which
# are kept for other alphabets (RFC 5890).
_LABEL = (
    f"{_ALNUM}(?:{_ALNUM}|{_INNER}(?:{_ALNUM}(?:{_INNER}{{0,59}}{_ALNUM})?"
    f"|-{_ALNUM}(?:{_INNER}{{0,58}}{_ALNUM})?))?"
)
_GROUP = "[0-9A-Fa-f]{1,4}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LAST = rf"(?:{_GROUP}:{_GROUP}|{_OCTET}(?:\.{_OCTET}){{3}})"
# RFC 3986, appendix A: by how many groups stand before the two colons.
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
# RFC 5321: at most 64 characters before the @, at most 255 after it. Only so few dots let a pattern
# say that.
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_MAILBOX = (
    rf"{_ATOM}{{1,64}}|{_ATOM}{{1,31}}\.{_ATOM}{{1,32}}|{_ATOM}{{1,16}}(?:\.{_ATOM}{{1,15}}){{2,3}}"
)

EXACT_PATTERNS = {
    "date": f"^{_DATE}$",
    "ipv6": f"^(?:{_IPV6})$",
    "json-pointer": r"^(?:/(?:[^~/]|~[01])*)*$",
    "relative-json-pointer": r"^(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*)*)$",
}

WIDE_PATTERNS = {
    "date-time": f"^{_DATE}[Tt]{_ANY_TIME}$",
    "time": f"^{_ANY_TIME}$",
    "email": "^.+@.+$",
    "hostname": r"^[A-Za-z0-9.-]{1,253}$",
}
"""What every text of a format matches, and some others do."""

_SECONDS = "a leap second in UTC only, and at most nine digits of a fraction"

USUAL_FORMS: dict[str, tuple[dict[str, object], str]] = {
    "date-time": ({"pattern": f"^{_DATE}[Tt]{_USUAL_TIME}$"}, _SECONDS),
    "time": ({"pattern": f"^{_USUAL_TIME}$"}, _SECONDS),
    "email": (
        {"pattern": rf"^(?:{_MAILBOX})@{_LABEL}(?:\.{_LABEL}){{0,3}}$"},
        "nothing in quotes or brackets, at most three dots on a side, no domain in other alphabets",
    ),
    "hostname": (
        {"pattern": rf"^{_LABEL}(?:\.{_LABEL})*$", "maxLength": 253},
        "no label with hyphens in third and fourth place, as those in other alphabets have",
    ),
}
"""Keywords that only texts of a format match, and what of the format they leave out."""
