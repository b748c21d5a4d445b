"""Finds the metrics and labels in a PromQL expression. Supports the expressions in deploy/."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Matcher:
    metric: str
    label: str
    operator: str
    value: str


def metric_names(expression: str) -> set[str]:
    """Every metric that the expression reads."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", _GROUPING.sub(" ", expression))
    assert '"' not in text, f"a string outside of a selector: {text}"
    names = re.findall(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])", text)
    return set(names) - _KEYWORDS


def matchers(expression: str) -> list[Matcher]:
    """Every label matcher, with its metric."""
    return [
        Matcher(metric, *parts)
        for metric, body in _SELECTOR.findall(expression)
        for parts in _MATCHER.findall(body)
    ]


def grouping_labels(expression: str) -> set[str]:
    """Every label that the expression groups by."""
    return {
        label.strip() for body in _GROUPING.findall(expression) for label in body.split(",")
    } - {""}
