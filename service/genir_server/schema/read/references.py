"""References as people write them."""

from __future__ import annotations

import re
from urllib.parse import quote

# What people write in a fragment, such as "#/definitions/Box<string>", and no URI has.
_NOT_IN_URI = re.compile(r"[\x00-\x20\"<>\\^`{|}\[\]\x7f-\U0010ffff]|%(?![0-9A-Fa-f]{2})")


def as_uri(reference: str) -> str:
    """A reference whose fragment is that of a URI."""
    uri, mark, fragment = reference.partition("#")
    return uri + mark + _NOT_IN_URI.sub(lambda found: quote(found.group(), safe=""), fragment)
