"""Tokenizers through GGUF's metadata and back: the same ids and bytes; what GGUF cannot hold is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.gguf_tokenizer import dump, merges_of_pieces, tokenizer_from_gguf, tokenizer_to_gguf
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from tests.core.conftest import sentences
from tests.core.data.gguf_tokenizers import KINDS, TEXTS, byte_level, with_space_prefix


def there_and_back(tokenizer: Tokenizer, folder: Path, **more: object) -> Tokenizer:
    """The tokenizer that a GGUF file of this one gives; the vocabulary has room for 50 tokens more."""
    metadata = tokenizer_to_gguf(tokenizer.as_json(), tokenizer.vocab_size + 50)
    ids = {"tokenizer.ggml.eos_token_id": tokenizer.eos_id, "tokenizer.ggml.add_bos_token": bool(tokenizer.start_ids)}
    if tokenizer.bos_id is not None:
        ids["tokenizer.ggml.bos_token_id"] = tokenizer.bos_id
    source, settings = tokenizer_from_gguf({**metadata, **ids, **more})
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(dump(source))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer.load(folder)


def assert_same(tokenizer: Tokenizer, back: Tokenizer) -> None:
    for text in [*TEXTS, *sentences(50, seed=8)]:
        ids = tokenizer.encode(text)
        assert back.encode(text) == ids, text
        assert back.decode(ids) == tokenizer.decode(ids)
    assert (back.eos_id, back.start_ids, back.stop_ids) == (tokenizer.eos_id, tokenizer.start_ids, tokenizer.stop_ids)
    assert back.added_tokens == tokenizer.added_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_level_tokenizer_comes_back(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(byte_level(kind, tmp_path / "own"))
    assert tokenizer_to_gguf(tokenizer.as_json(), 1000)["tokenizer.ggml.pre"] == kind
    assert_same(tokenizer, there_and_back(tokenizer, tmp_path / "back"))


def test_ours_and_one_with_a_space_before_texts_come_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert_same(tokenizer, there_and_back(tokenizer, tmp_path / "ours"))
    prefixed = Tokenizer.load(with_space_prefix(tokenizer, tmp_path / "own"))
    assert prefixed.encode("the fox") == tokenizer.encode(" the fox")
    assert prefixed.decode(prefixed.encode("the fox")) == "the fox"
    assert_same(prefixed, there_and_back(prefixed, tmp_path / "prefixed"))


def test_a_vocabulary_without_types_or_a_name_for_its_cutting_is_read_as_the_default() -> None:
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b", "ab"]}
    source, settings = tokenizer_from_gguf({**metadata, "tokenizer.ggml.merges": ["a b"]})
    assert source["model"]["merges"] == [["a", "b"]]
    assert len(source["pre_tokenizer"]["pretokenizers"]) == 5
    assert settings["add_bos_token"] is False


def test_files_of_llama_3_begin_with_bos_where_they_do_not_say() -> None:
    tokens = {"tokenizer.ggml.tokens": ["<s>", "a"], "tokenizer.ggml.token_type": [3, 1], "tokenizer.ggml.merges": []}
    named = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.bos_token_id": 0}
    source, settings = tokenizer_from_gguf({**tokens, **named})
    assert settings["add_bos_token"] is True
    assert source["post_processor"]["special_tokens"]["<s>"]["ids"] == [0]
    assert tokenizer_from_gguf({**tokens, **named, "tokenizer.ggml.add_bos_token": False})[0]["post_processor"] is None


GPT2 = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.ggml.token_type": [1, 1],
    "tokenizer.ggml.merges": [],
}
LLAMA = {**GPT2, "tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [0.0, -1.0]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "no list of str called tokenizer.ggml.tokens"),
        ({**GPT2, "tokenizer.ggml.tokens": []}, "0 tokens and 2 types"),
        ({**GPT2, "tokenizer.ggml.tokens": [1, 2]}, "no list of str"),
        ({**GPT2, "tokenizer.ggml.merges": ["a x"]}, "1 of 1 merges are not of its tokens"),
        ({**GPT2, "tokenizer.ggml.pre": "chatglm-bpe"}, "cuts texts as 'chatglm-bpe', which is not known here"),
        ({**GPT2, "tokenizer.ggml.model": "t5"}, "The tokenizer is of type 't5'"),
        ({**LLAMA, "tokenizer.ggml.scores": [0.0]}, "2 tokens and 1 scores"),
        ({**LLAMA, "tokenizer.ggml.tokens": ["a", "b" * 10**6]}, "a piece of 1,000,000 characters"),
    ],
)
def test_metadata_that_is_no_tokenizer_is_refused(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        tokenizer_from_gguf(metadata)


def no_score_order(source: dict[str, Any]) -> None:
    source["model"]["merges"] = source["model"]["merges"][1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_score_order, "merges have an order that GGUF cannot hold"),
        (lambda source: source.update(normalizer={"type": "Lowercase"}), "changes texts in a way that GGUF"),
        (lambda source: source["model"].update(byte_fallback=False), "cuts texts in a way that GGUF has no name for"),
    ],
)
def test_what_gguf_cannot_hold_is_named(
    tokenizer: Tokenizer, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    source = tokenizer.as_json()
    change(source)
    with pytest.raises(ModelError, match=message):
        tokenizer_to_gguf(source, 1000)


def test_a_vocabulary_larger_than_the_model_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError, match="The tokenizer has 420 ids, the model 400 embeddings"):
        tokenizer_to_gguf(tokenizer.as_json(), 400)


def test_every_split_of_a_piece_is_a_merge_and_the_best_score_comes_first() -> None:
    merges = merges_of_pieces({"a": -9.0, "b": -8.0, "ab": -2.0, "ba": -1.0, "aba": -3.0})
    assert merges == [["b", "a"], ["a", "b"], ["a", "ba"], ["ab", "a"]]
