"""The requests to every subject: the same prompts, schemas and sampling."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parents[1] / "generation" / "prompts.txt"

SYSTEM = "You write intermediate representations. Answer with one JSON value. Be brief."

IR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {
            "type": "object",
            "properties": {"summary": {"type": "string", "minLength": 10, "maxLength": 80}},
            "required": ["summary"],
            "additionalProperties": False,
        },
        "signature": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z][a-z_]{2,20}$"},
                "parameters": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2,
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string", "pattern": "^[a-z][a-z_]{1,12}$"},
                            "type_hint": {"enum": ["int", "float", "str", "bytes", "list"]},
                        },
                        "required": ["name", "type_hint"],
                        "additionalProperties": False,
                    },
                },
                "returns": {"enum": ["int", "float", "str", "bytes", "list", "None"]},
            },
            "required": ["name", "parameters", "returns"],
            "additionalProperties": False,
        },
        "effects": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {"description": {"type": "string", "maxLength": 60}},
                "required": ["description"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["intent", "signature", "effects"],
    "additionalProperties": False,
}
"""A small IR with the shape of the built-in one. Every value is bounded, so that no output is
truncated and no front end needs to change the schema."""

MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    `prompt` is the full text that the model continues, `token_ids` its tokens, for subjects that
    take tokens. `schema` is JSON text. None means free text, which genir does not offer.
    """

    prompt: str
    token_ids: tuple[int, ...]
    schema: str | None
    temperature: float = 0.0
    seed: int = 1
    max_tokens: int = MAX_TOKENS

    def to_json(self) -> dict[str, Any]:
        """The case as JSON, for another process."""
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        """The case from its JSON."""
        return Case(**{**fields, "token_ids": tuple(fields["token_ids"])})


@functools.cache
def _tokenizer(model: str) -> Any:  # noqa: ANN401 - transformers is not typed here.
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def prompt_cases(model: str, count: int, first: str = "") -> list[Case]:
    """Cases with different prompts, rendered with the model's own chat template.

    Each prompt begins with `first`.
    """
    tokenizer = _tokenizer(model)
    lines = PROMPTS.read_text().splitlines()
    schema = json.dumps(IR_SCHEMA, separators=(",", ":"))
    cases = []
    for number in range(count):
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": first + SYSTEM},
                {"role": "user", "content": lines[number % len(lines)]},
            ],
            add_generation_prompt=True,
            tokenize=False,
        )
        cases.append(Case(text, tuple(tokenizer.encode(text)), schema, seed=number + 1))
    return cases
