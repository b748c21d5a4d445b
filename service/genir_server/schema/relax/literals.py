"""Regular expressions made from literal strings."""

from __future__ import annotations

_SPECIAL = frozenset("\\^$.|?*+()[]{}/-")


def escaped(text: str) -> str:
    """A regular expression that matches exactly `text`."""
    return "".join(_escaped_character(character) for character in text)


def one_of(texts: list[str]) -> str:
    """An anchored regular expression that matches exactly the texts."""
    return "^(?:" + "|".join(escaped(text) for text in texts) + ")$"


def all_strings_but(texts: list[str]) -> str:
    """An anchored regular expression that matches every string but the texts.

    Without look-ahead: the texts form a tree of prefixes. Any other string either leaves the tree
    at some character, or ends at a prefix that is not one of the texts.
    """
    ends: set[str] = set(texts)
    following: dict[str, set[str]] = {"": set()}
    for text in texts:
        for index, character in enumerate(text):
            following.setdefault(text[:index], set()).add(character)
        following.setdefault(text, set())
    expression: dict[str, str] = {}
    # Longest prefixes first: each one needs those that are one character longer.
    for prefix in sorted(following, key=lambda text: (-len(text), text)):
        options = [] if prefix in ends else [""]
        characters = sorted(following[prefix])
        anything = r"[\s\S]*"
        if characters:
            options.append("[^" + "".join(map(_escaped_character, characters)) + "]" + anything)
            options.extend(
                _escaped_character(character) + expression.pop(prefix + character)
                for character in characters
            )
        else:
            options.append(r"[\s\S]+")
        expression[prefix] = "(?:" + "|".join(options) + ")"
    return f"^{expression['']}$"


def _escaped_character(character: str) -> str:
    if character in _SPECIAL:
        return "\\" + character
    if character < " " or character == "\x7f":
        return f"\\x{ord(character):02x}"
    return character
