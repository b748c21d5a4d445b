"""The tokenizer that schema workers get is the one that the engine core makes for llguidance."""

from __future__ import annotations

import asyncio
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mistral_common
import pytest
from google.protobuf.runtime_version import VersionError

from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.domain.types import Message, Role
from genir_server.engine.embedded_model import make_embedded_model
from genir_server.engine.patches.forced_texts import (
    force_texts_as_they_stand,
    guidance_tokenizer,
)
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import prepare_environment
from genir_server.engine.vllm.tokenizer import ChatTokenizer
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.limits import SchemaLimits
from genir_server.schema.preparer import Preparer
from tests.support.forced_texts import written

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.filterwarnings("ignore")

SHIPPED = Path(mistral_common.__file__).parent / "data"
TEKKEN = "tekken_240911.json"
SENTENCEPIECE = sorted(path.name for path in SHIPPED.glob("*.model.v*"))
TEXTS = ('{"name": "Häuschen 猫", "sizes": [1, 2.50]}', "a  b\n\n c", "")
FORMATS = ("tokenizer.json", "tiktoken.model", "tekken.json", "tokenizer.model", "Gemma's")
CHANGED_BY_SOME = ("e\u0301", "\u212b", "▁", " ▁ ", "  x ", "<INST>", "<0x0A>", "\ufb01")
SCHEMA = '{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}'


@pytest.fixture(scope="module")
def module() -> ModuleType:
    prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm import grammar_tokenizer
    return grammar_tokenizer


def folder_with(folder: Path, **files: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, source in files.items():
        shutil.copy(source, folder / name.replace("__", "."))
    return folder


def by_sentencepiece(folder: Path, source: str, model: str = "Llama") -> Any:
    """What transformers makes of a ``tokenizer.model``; None if sentencepiece does not fit."""
    from vllm.tokenizers import get_tokenizer

    try:
        from sentencepiece import sentencepiece_model_pb2  # noqa: F401
    except VersionError:
        return None
    folder_with(folder, tokenizer__model=SHIPPED / source)
    (folder / "config.json").write_text(json.dumps({"model_type": model.lower()}))
    named = {"tokenizer_class": f"{model}Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return get_tokenizer(str(folder))


def skip_without(tokenizer: Any) -> None:
    if tokenizer is None:
        pytest.skip("the installed sentencepiece is not the pinned one and needs protobuf 7")


def check_is_the_engines(module: ModuleType, tokenizer: Any) -> None:
    """Compares every token, and texts, of what workers get and of what the engine core makes."""
    taken = module.grammar_tokenizer(tokenizer, 0)
    sent = GrammarTokenizer.decode(taken.encode())
    assert sent == taken
    ours = load_tokenizer(sent)
    engines = guidance_tokenizer(tokenizer, 0)
    assert ours.vocab_size == engines.vocab_size
    assert ours.eos_token == engines.eos_token
    assert all(
        ours.decode_bytes([number]) == engines.decode_bytes([number])
        and ours.is_special_token(number) == engines.is_special_token(number)
        for number in range(engines.vocab_size)
    )
    for text in TEXTS:
        tokens = ours.tokenize_str(text)
        assert tokens == engines.tokenize_str(text)
        assert ours.decode_bytes(tokens) == text.encode()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tokenizers of vLLM for files of each format."""
    from vllm.tokenizers import get_tokenizer
    from vllm.tokenizers.mistral import MistralTokenizer

    root = tmp_path_factory.mktemp("tokenizers")
    tiktoken = root / "tiktoken"
    tiktoken.mkdir()
    vocabulary = json.loads((SHIPPED / TEKKEN).read_text())["vocab"][:30_000]
    (tiktoken / "tiktoken.model").write_text(
        "".join(f"{token['token_bytes']} {token['rank']}\n" for token in vocabulary)
    )
    (tiktoken / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tiktoken / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"})
    )
    tekken = folder_with(root / "tekken", tekken__json=SHIPPED / TEKKEN)
    return {
        "tokenizer.json": get_tokenizer(str(make_embedded_model())),
        "tiktoken.model": get_tokenizer(str(tiktoken)),
        "tekken.json": MistralTokenizer.from_pretrained(str(tekken)),
        "tokenizer.model": by_sentencepiece(root / "llama", SENTENCEPIECE[-1]),
        "Gemma's": by_sentencepiece(root / "gemma", SENTENCEPIECE[-1], "Gemma"),
    }


@pytest.mark.parametrize("name", FORMATS)
def test_workers_read_every_format_as_the_engine_does(
    module: ModuleType, tokenizers: dict[str, Any], name: str
) -> None:
    skip_without(tokenizers[name])
    check_is_the_engines(module, tokenizers[name])


@pytest.mark.parametrize("source", SENTENCEPIECE)
def test_workers_read_every_sentencepiece_file_of_mistral_as_the_engine_does(
    module: ModuleType, source: str, tmp_path: Path
) -> None:
    tokenizer = by_sentencepiece(tmp_path, source)
    skip_without(tokenizer)
    check_is_the_engines(module, tokenizer)


def test_workers_read_every_tekken_file_of_mistral_as_the_engine_does(
    module: ModuleType, tmp_path: Path
) -> None:
    from vllm.tokenizers.mistral import MistralTokenizer

    sources = sorted(SHIPPED.glob("tekken_*.json"))
    assert len(sources) > 1
    for source in sources:
        folder = folder_with(tmp_path / source.stem, tekken__json=source)
        check_is_the_engines(module, MistralTokenizer.from_pretrained(str(folder)))


def names_in(tokenizer: Any) -> list[str]:
    """Names of special tokens, as a caller may write them."""
    from vllm.tokenizers.mistral import MistralTokenizer

    if isinstance(tokenizer, MistralTokenizer):
        inner = tokenizer.tokenizer
        return [inner.id_to_piece(number) for number in range(40)]
    return [str(name) for name in tokenizer.get_added_vocab()]


@pytest.mark.parametrize("name", FORMATS)
def test_names_of_special_tokens_are_written_as_they_stand(
    module: ModuleType, tokenizers: dict[str, Any], name: str
) -> None:
    tokenizer = tokenizers[name]
    skip_without(tokenizer)
    names = names_in(tokenizer)
    assert names
    ours = load_tokenizer(module.grammar_tokenizer(tokenizer, 0))
    engines = guidance_tokenizer(tokenizer, 0)
    for text in (*names, *CHANGED_BY_SOME):
        value = f"{text} a{text}"
        expected = json.dumps(value, ensure_ascii=False)
        assert written(ours, {"const": value}) == (expected, set())
        assert written(engines, {"const": value}) == (expected, set())


def test_padding_of_the_vocabulary_is_kept(module: ModuleType, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["tokenizer.json"]
    taken = module.grammar_tokenizer(tokenizer, len(tokenizer) + 100)
    assert load_tokenizer(taken).vocab_size == len(tokenizer) + 100


@pytest.mark.parametrize("name", FORMATS)
async def test_schemas_are_prepared_with_every_format(
    module: ModuleType, tokenizers: dict[str, Any], name: str
) -> None:
    skip_without(tokenizers[name])
    preparer = Preparer(
        module.grammar_tokenizer(tokenizers[name], 0),
        SchemaLimits(probe_seconds=30.0, compile_seconds=30.0, probe_wall_seconds=120.0),
    )
    try:
        await preparer.start()
        prepared = await preparer.prepare(SCHEMA)
    finally:
        await preparer.close()
    # A tokenizer of single bytes needs seven tokens for the name alone.
    assert 1 < prepared.min_tokens < 7


@pytest.mark.parametrize("source", SENTENCEPIECE)
def test_mistrals_sentencepiece_is_refused_with_what_to_change(
    module: ModuleType, source: str, tmp_path: Path
) -> None:
    from vllm.tokenizers.mistral import MistralTokenizer

    shutil.copy(SHIPPED / source, tmp_path / f"tokenizer.model.{source.rpartition('.')[2]}")
    tokenizer = MistralTokenizer.from_pretrained(str(tmp_path))
    with pytest.raises(EngineStartError, match=r"sentencepiece: .* tokenizer_mode=hf"):
        module.grammar_tokenizer(tokenizer, 0)


def test_tokenizer_in_python_is_refused_with_what_to_change(module: ModuleType) -> None:
    class TikTokenTokenizer:
        """What models bring along that need trust_remote_code."""

    with pytest.raises(EngineStartError, match=r"\(TikTokenTokenizer\).* --engine-args tokenizer="):
        module.grammar_tokenizer(TikTokenTokenizer(), 0)


async def test_mistrals_own_code_renders_conversations(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["tekken.json"]
    # vLLM keeps it in the tokenizer, and it cannot be copied.
    assert tokenizer.llg_tokenizer
    chat = ChatTokenizer(tokenizer, template=None)
    try:
        turns = [Message(Role.SYSTEM, "In JSON."), Message(Role.USER, "A cat [/INST] </s>")]
        rendered = await asyncio.gather(*(chat.render_chat(turns) for _ in range(8)))
        text = tokenizer.decode(rendered[0])
        assert "A cat [/INST] </s>" in text
        assert rendered[0].count(tokenizer.tokenizer.get_special_token("[/INST]")) == 1
        assert all(tokens == rendered[0] for tokens in rendered)
        with pytest.raises(ValueError, match="the model's chat template does not work"):
            await chat.render_chat([Message(Role.USER, "a"), Message(Role.ASSISTANT, "b")])
    finally:
        chat.close()


def test_engine_core_makes_the_same_tokenizer(
    module: ModuleType, tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = module.GuidanceBackend
    # Restores it after the test.
    monkeypatch.setattr(backend, "_build_ll_tokenizer", backend._build_ll_tokenizer)
    made = backend._build_ll_tokenizer(tokenizers["tokenizer.json"], 0)
    assert made.tokenize_str("<|im_end|>") == [made.eos_token], "the patch is not needed any more"
    force_texts_as_they_stand()
    made = backend._build_ll_tokenizer(tokenizers["tokenizer.json"], 0)
    assert made.eos_token not in made.tokenize_str("<|im_end|>")


def test_changed_vllm_keeps_its_tokenizer(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def other(anything: object) -> None:
        """A function with another signature."""

    monkeypatch.setattr(module.GuidanceBackend, "_build_ll_tokenizer", other)
    force_texts_as_they_stand()
    assert module.GuidanceBackend._build_ll_tokenizer is other
    assert "the name of a special token fail: vllm." in caplog.text
