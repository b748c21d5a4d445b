"""Formats with internationalized names, as IDNA2008 (RFC 5890 to 5893) has them.

jsonschema-rs maps a name first, as browsers do: capitals, fullwidth letters and ligatures become
others. The standard allows such characters nowhere in a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import idna
import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Callable

_SEPARATOR = re.compile("[.\u3002\uff0e\uff61]")
_A_LABEL = "xn--"
# Written with A-labels a name has no more octets, and no fewer than characters here.
_MAX_CHARACTERS = 253


def _check_of(name: str) -> Callable[[str], bool]:
    return jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid


_is_mapped_hostname = _check_of("idn-hostname")
_is_ascii_hostname = _check_of("hostname")


def is_idn_hostname(text: str) -> bool:
    """Whether a text is a hostname of A-labels, U-labels and letter-digit-hyphen labels."""
    return len(text) <= _MAX_CHARACTERS and _is_mapped_hostname(text) and _has_idna_labels(text)


def is_hostname(text: str) -> bool:
    """Whether a text is a hostname in ASCII, with valid A-labels: from draft 7 on."""
    return len(text) <= _MAX_CHARACTERS and _is_ascii_hostname(text) and _has_idna_labels(text)


def _has_idna_labels(text: str) -> bool:
    try:
        for label in _SEPARATOR.split(text):
            if not label.isascii():
                idna.check_label(label)
            elif label.lower().startswith(_A_LABEL):
                idna.ulabel(label)
    except idna.IDNAError:
        return False
    return True
