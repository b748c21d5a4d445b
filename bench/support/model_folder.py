"""Reads from a model's folder what the server takes from vLLM."""

from __future__ import annotations

from pathlib import Path

from genir_server.domain.grammar_tokenizer import GrammarTokenizer


def tokenizer_in(folder: Path | str) -> GrammarTokenizer:
    """The tokenizer of a model folder with a ``tokenizer.json``."""
    return GrammarTokenizer(hugging_face=(Path(folder) / "tokenizer.json").read_text())
