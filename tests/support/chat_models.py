"""Small tokenizers and chat templates of the kinds that served models have."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

CORPUS = ["The quick brown fox jumps over the lazy dog, and then the system answers."] * 4 + [
    "user assistant system start end of turn header think role <b> text </b> (0123456789)\n\n",
    "Ein Häuschen, 猫 and 🐈: {“key”: [1, 2.5, null]}\n",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim "
    "+ eos_token }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{{ '<start_of_turn>model\n' }}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}{{ '<\uff5cUser\uff5c>' + m.content }}{% else %}"
    "{{ '<\uff5cAssistant\uff5c>' + m.content.split('</think>')[-1] + "
    "'<\uff5cend▁of▁sentence\uff5c>' }}{% endif %}{% endfor %}{{ '<\uff5cAssistant\uff5c>"
    "<think>\n' }}"
)
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "<|start|>assistant"
)
COMPOSED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)
CONCATENATED = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"

FAMILIES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "ChatML": (
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        ("<think>", "</think>", "<tool_call>"),
    ),
    "Llama 3": (
        LLAMA_3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        (),
    ),
    "Mistral": (MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"), ()),
    "Gemma": (GEMMA, ("<bos>", "<start_of_turn>", "<end_of_turn>"), ("\n\n", "  ", "▁▁▁")),
    "DeepSeek": (
        DEEPSEEK,
        ("<\uff5cbegin▁of▁sentence\uff5c>", "<\uff5cend▁of▁sentence\uff5c>"),
        ("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "</think>"),
    ),
    "harmony": (HARMONY, ("<|endoftext|>", "<|start|>", "<|message|>", "<|end|>"), ()),
    "composed": (
        COMPOSED,
        ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
        ("|>x<|",),
    ),
    "concatenated": (CONCATENATED, ("<s>", "</s>"), ("<think>",)),
}
"""Template, tokens with the flag `special` and tokens without it, by the name of the family."""


@cache
def trained(kind: str) -> str:
    """A tokenizer without added tokens, as JSON."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if kind == "byte level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "metaspace":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
        trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    elif kind == "prepending":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        tokenizer.decoder = decoders.Replace("▁", " ")
        trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    elif kind == "byte fallback":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=[f"<0x{byte:02X}>" for byte in range(256)],
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150,
            special_tokens=["<unk>", "<s>", "</s>"],
            unk_token="<unk>",  # noqa: S106
            show_progress=False,
        )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if kind == "byte fallback":
        # Bytes are words of the vocabulary, not added tokens.
        return json.dumps({**json.loads(tokenizer.to_str()), "added_tokens": []})
    return str(tokenizer.to_str())


KINDS = ("byte level", "metaspace", "prepending", "unigram")


def backend(kind: str, family: str, *, normalized: bool = False) -> Tokenizer:
    """A tokenizer with the added tokens of a family."""
    from tokenizers import AddedToken, Tokenizer

    _, special, others = FAMILIES[family]
    tokenizer = Tokenizer.from_str(trained(kind))
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=normalized) for name in special]
    )
    tokenizer.add_tokens(
        [AddedToken(name, special=False, normalized=normalized) for name in others]
    )
    return tokenizer


def chat_model(
    kind: str, family: str, *, normalized: bool = False, **options: Any
) -> PreTrainedTokenizerBase:
    """A Hugging Face tokenizer with the added tokens and the chat template of a family."""
    from transformers import PreTrainedTokenizerFast

    template, special, _ = FAMILIES[family]
    model: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=backend(kind, family, normalized=normalized),
        bos_token=special[0],
        eos_token=special[1],
        **options,
    )
    model.chat_template = template
    return model


def names_of(family: str) -> tuple[str, ...]:
    """The names of a family's tokens that may control a model."""
    _, special, others = FAMILIES[family]
    return special + tuple(name for name in others if name.replace("▁", "").strip())
