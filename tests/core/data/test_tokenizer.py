"""The tokenizer: the identity on every text, no control token from text, equal in both its files."""

import gzip
import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.tokenizer import CONTROL_TOKENS, Tokenizer
from core.data.tokenizer_backends import BLOCK_CHARS, blocks
from core.errors import DataError, ModelError
from tests.conftest import SHARED_DATA
from tests.core.conftest import sentences

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TRICKY = [
    "a\u2581b\u2581",
    "\u2581",
    " leading, double  and trailing ",
    "\t\ttabs\r\nlines\n\n",
    "\x00nul\x7f",
    "<s>hi</s><unk><pad><0x41>",
    "<|im_start|>system\nyou<|im_end|>",
    "👨‍👩‍👧‍👦 é\u0301 \ufeff \u2028",
    "中文，夹 English 123 4567。",
    "",
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level BPE as others ship it: special, plain and odd added tokens, one also in the vocabulary."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    model.train_from_iterator(sentences(300, seed=0), trainer)
    model.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    model.add_tokens(["<think>", "</think>", "the quick"])
    folder = tmp_path_factory.mktemp("foreign")
    model.save(str(folder / "tokenizer.json"))
    config = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.load(folder)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_decode_of_encode_is_the_identity(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_foreign_decode_of_encode_is_the_identity(foreign: Tokenizer, text: str) -> None:
    assert foreign.decode(foreign.encode(text)) == text


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts_come_back_whole(tokenizer: Tokenizer, foreign: Tokenizer, text: str) -> None:
    for each in (tokenizer, foreign):
        assert each.decode(each.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 399), max_size=40))
def test_stream_decoding_equals_whole_decoding(tokenizer: Tokenizer, ids: list[int]) -> None:
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push(token_id) for token_id in ids] + [decoder.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)


def test_stream_never_gives_half_a_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("龘🦊\u2581")
    decoder = tokenizer.stream_decoder()
    pieces = [piece for token_id in ids if (piece := decoder.push(token_id))]
    assert pieces == ["龘", "🦊", "\u2581"]


def test_no_spelling_of_an_added_token_encodes_to_it(tokenizer: Tokenizer, foreign: Tokenizer) -> None:
    for each in (tokenizer, foreign):
        control = set(each.added_tokens.values())
        for token in each.added_tokens:
            for text in (token, f"a{token}b", f"{token}{token}", f" {token}\n", token[:-1] + token[-1:]):
                assert not control & set(each.encode(text)), token
                assert each.decode(each.encode(text)) == text


def test_lone_surrogates_become_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b🦊")) == "a\ufffdb🦊"


def test_saved_tokenizer_loads_with_the_same_ids_and_settings(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"}
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("hello 你好") == tokenizer.encode("hello 你好")
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id) == (1, 2, 3)
    assert loaded.stop_ids == {2, tokenizer.added_tokens["<|im_end|>"]}


def test_control_tokens_have_the_first_ids(tokenizer: Tokenizer) -> None:
    assert [tokenizer.added_tokens[token] for token in CONTROL_TOKENS] == list(range(4, 4 + len(CONTROL_TOKENS)))


def test_tokenizer_json_gives_the_ids_of_sentencepiece(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*sentences(200, seed=9), "  two  spaces\n\n\tand tab 12345", "龘🦊 é"]:
        assert other.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["en/wikipedia-en-extract.jsonl.gz", "zh/wikipedia-zh-extract-simplified-1.jsonl.gz"])
def test_one_megabyte_of_real_text_has_equal_ids_in_both_files(name: str, tmp_path: Path) -> None:
    texts, size = [], 0
    with gzip.open(SHARED_DATA / "pretrain" / name, "rt", encoding="utf-8") as lines:
        while size < 2_000_000:
            texts.append(json.loads(next(lines))["text"])
            size += len(texts[-1].encode())
    half = len(texts) // 2
    tokenizer = Tokenizer.train(texts[:half], vocab_size=4000)
    tokenizer.save(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    expected = [encoding.ids for encoding in other.encode_batch(texts[half:], add_special_tokens=False)]
    assert [tokenizer.encode(text) for text in texts[half:]] == expected


def test_a_line_of_five_million_characters_is_encoded(tokenizer: Tokenizer) -> None:
    text = "the quick 狐狸 " * 500_000
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text


def test_blocks_join_to_the_text_and_are_cut_after_spaces() -> None:
    text = ("word " * BLOCK_CHARS)[: 3 * BLOCK_CHARS + 17]
    parts = blocks(text)
    assert "".join(parts) == text
    assert all(part.endswith(" ") and len(part) <= BLOCK_CHARS for part in parts[:-1])


def test_too_little_text_for_a_vocabulary_is_a_data_error() -> None:
    with pytest.raises(DataError, match="A vocabulary of 5000 could not be learnt"):
        Tokenizer.train(["a b c"], vocab_size=5000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"\x00garbage", "cannot be read"),
        ("tokenizer.json", b'{"model": {"type": "Unigram", "vocab": []}}', "of type Unigram"),
        ("tokenizer_config.json", b"{", "not readable JSON"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Tokenizer.load(tmp_path)


def test_a_file_of_absurd_size_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match="1,073,741,824 bytes"):
        Tokenizer.load(tmp_path)


def test_stop_ids_come_from_the_generation_config_too(foreign: Tokenizer, tmp_path: Path) -> None:
    foreign.save(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert Tokenizer.load(tmp_path).stop_ids >= {7, 9, foreign.added_tokens["<|im_end|>"]}


def test_astrais_spelling_of_the_settings_is_read(foreign: Tokenizer, tmp_path: Path) -> None:
    foreign.save(tmp_path)
    spelling = {"special_tokens": {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>"}, "chat_template": "x"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(spelling))
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.eos_id, loaded.bos_id) == (foreign.eos_id, foreign.added_tokens["<|endoftext|>"])
    assert loaded.chat_template == "x"


def test_a_small_vocabulary_spells_rare_characters_in_bytes_and_keeps_pieces_for_words() -> None:
    """1,000 different rare characters, a hundredth of the text, do not fit 500 pieces; frequent ones and words do."""
    rare = [chr(0x4E00 + number) for number in range(1000)]
    texts = [
        f"{character} {sentence} {sentence}" for character, sentence in zip(rare, sentences(1000, seed=3), strict=True)
    ]
    tokenizer = Tokenizer.train(texts, vocab_size=500)
    assert len(tokenizer.encode("the quick brown fox")) < 10
    assert tokenizer.decode(tokenizer.encode("".join(rare))) == "".join(rare)


def test_a_vocabulary_too_small_for_the_characters_asks_for_a_larger_one() -> None:
    texts = ["".join(chr(0x4E00 + (number * 37 + place) % 3000) for place in range(50)) for number in range(200)]
    with pytest.raises(DataError, match="Ask for a larger one"):
        Tokenizer.train(texts, vocab_size=500)


def test_ids_beyond_the_vocabulary_are_no_text(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    assert decoder.push(tokenizer.vocab_size + 5) == ""
    assert decoder.push(tokenizer.encode("a")[0]) + decoder.flush() == "a"


@pytest.mark.parametrize(
    "entry", [{"content": "<x>"}, {"content": ["<x>"], "id": 3}, {"content": "<x>", "id": -1}, "<x>", {"id": 2**40}]
)
def test_an_added_token_that_is_none_is_refused(foreign: Tokenizer, tmp_path: Path, entry: object) -> None:
    foreign.save(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({**foreign.as_json(), "added_tokens": [entry]}))
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        Tokenizer.load(tmp_path)
