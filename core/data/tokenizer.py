"""Text to token ids and back, for our SentencePiece tokenizers, others' `tokenizer.json` and those in GGUF files.

`encode` never yields a control token, whatever the text says; they enter only by `added_tokens`, which
the chat template uses. `decode(encode(text)) == text` for text without lone surrogates, which become
U+FFFD. Ours are saved as `tokenizer.model` and as an equal `tokenizer.json`, which transformers, vLLM
and llama.cpp read.
"""

import codecs
import hashlib
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from core.data.placeholder import refuse_placeholder
from core.data.tokenizer_backends import (
    SPACE_MARK,
    Backend,
    HuggingFaceBackend,
    SentencePieceBackend,
    tokenizer_json,
)
from core.errors import DataError, ModelError
from core.files import make_folder, read_bytes, write_bytes

SENTENCEPIECE_FILE = "tokenizer.model"
JSON_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
MODEL_CONFIGS = ("config.json", "generation_config.json")
# Beyond the upper share of the text characters are misprints; below the lower one SentencePiece refuses.
MIN_COVERAGE, MAX_COVERAGE = 0.98, 0.9995
# Of the pieces that are neither bytes nor control tokens, how many may be single characters.
MAX_CHARACTER_SHARE = 2 / 3

UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "<pad>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
THINK_START, THINK_END = "<think>", "</think>"
TOOL_CALL_START, TOOL_CALL_END = "<tool_call>", "</tool_call>"
# What structures an answer, whether a tokenizer has tokens for it or spells it.
MARKUP = (THINK_START, THINK_END, TOOL_CALL_START, TOOL_CALL_END)
CONTROL_TOKENS = (
    TURN_START,
    TURN_END,
    *MARKUP,
    *(f"<|reserved_{number}|>" for number in range(6)),
)
MAX_VOCAB_SIZE = 2**24
MIN_VOCAB_SIZE = 4 + len(CONTROL_TOKENS) + 256 + 1
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# How AstrAI spells the marks of a turn since 2026.
WIDE_TURN_START, WIDE_TURN_END = "<｜im▁start｜>", "<｜im▁end｜>"
# The end of a text in the families we load, where a folder does not say.
TEXT_ENDS = (
    EOS,
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<|end_of_sentence|>",
    TURN_END,
)
# Ends of a turn in the templates of the families we load.
TURN_ENDS = (TURN_END, "<|eot_id|>", "<|end|>", "<|endoftext|>", "<end_of_turn>", WIDE_TURN_END)


class Tokenizer:
    """Encodes and decodes text, and knows the tokens that steer a model."""

    def __init__(self, backend: Backend, *, added_tokens: dict[str, int], settings: dict[str, Any]) -> None:
        """`settings` are the fields of `tokenizer_config.json`; see `load` and `train`."""
        self._backend = backend
        self._settings = settings
        self.added_tokens = added_tokens
        self._control_ids = frozenset(added_tokens.values())
        self.vocab_size = max(backend.vocab_size, 1 + max(added_tokens.values(), default=0))
        self.bos_id = self._special("bos_token")
        # What a plain text begins with: bos where the family's own tokenizer puts it, and in ours.
        has_start = settings.get("add_bos_token", settings.get("astrai_sentencepiece")) is True
        self.start_ids = [self.bos_id] if has_start and self.bos_id is not None else []
        self.pad_id = self._special("pad_token")
        eos_id = self._special("eos_token")
        if eos_id is None:
            raise ModelError("The tokenizer names no eos_token.", "Add eos_token to {file}.", file=SETTINGS_FILE)
        self.eos_id = eos_id
        # What a document of a training stream begins with, so that its first token is predicted too.
        self.start_id = eos_id if self.bos_id is None else self.bos_id
        self.chat_template: str = _chat_template(settings, added_tokens)
        self.stop_ids = frozenset(
            {eos_id, *settings.get("stop_ids", ()), *(added_tokens[end] for end in TURN_ENDS if end in added_tokens)}
        )
        self._files: dict[str, bytes] = {}

    @classmethod
    def train(
        cls, texts: Iterable[str], *, vocab_size: int, num_threads: int = 2, character_coverage: float | None = None
    ) -> "Tokenizer":
        """Learn a BPE vocabulary from texts, which are held in memory. Raises DataError when they are too few.

        Characters beyond `character_coverage` of the text are spelt in bytes. None covers as much as leaves
        pieces for words: with a small vocabulary, Chinese characters alone would fill it.
        """
        if vocab_size < MIN_VOCAB_SIZE:
            raise DataError(
                "A vocabulary of {size} is too small: bytes and control tokens alone take {taken}.",
                "Ask for at least {least} pieces.",
                size=vocab_size,
                taken=MIN_VOCAB_SIZE - 1,
                least=MIN_VOCAB_SIZE,
            )
        texts = [text.replace(SPACE_MARK, " ") for text in texts]
        if character_coverage is None:
            character_coverage = _coverage(texts, int((vocab_size - MIN_VOCAB_SIZE) * MAX_CHARACTER_SHARE))
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocab_size,
                num_threads=num_threads,
                character_coverage=character_coverage,
                byte_fallback=True,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                split_digits=True,
                max_sentence_length=1 << 20,
                unk_id=0,
                bos_id=1,
                eos_id=2,
                pad_id=3,
                control_symbols=list(CONTROL_TOKENS),
                minloglevel=2,
            )
        except (RuntimeError, OSError) as exc:
            wants_more = "required_chars" in str(exc)
            raise DataError(
                "A vocabulary of {size} could not be learnt: {reason}",
                "Ask for a larger one." if wants_more else "Give more text or ask for a smaller one.",
                size=vocab_size,
                reason=_after_source_line(exc),
            ) from exc
        return cls._from_sentencepiece(model.getvalue(), _own_settings())

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Read the tokenizer of a model folder or a GGUF file. Raises ModelError."""
        settings = {} if folder.is_file() else _read_settings(folder)
        if settings.get("astrai_sentencepiece") and (folder / SENTENCEPIECE_FILE).exists():
            return cls._from_sentencepiece(_read(folder / SENTENCEPIECE_FILE), settings)
        if folder.suffix.lower() == ".gguf":
            return cls._from_gguf(folder)
        source = _read(folder / JSON_FILE)
        return cls._from_json(source, settings, _ids_in_configs(folder))

    @classmethod
    def _from_gguf(cls, path: Path) -> "Tokenizer":
        from core.data.gguf_file import open_gguf
        from core.data.gguf_tokenizer import dump, tokenizer_from_gguf

        source, settings = tokenizer_from_gguf(open_gguf(path).metadata)
        return cls._from_json(dump(source), settings, {})

    @classmethod
    def _from_json(cls, source: bytes, settings: dict[str, Any], ids: Mapping[str, int]) -> "Tokenizer":
        """From a `tokenizer.json`; `ids` of bos_token and eos_token count where the settings name none."""
        text = source.decode("utf-8", "replace")
        backend = HuggingFaceBackend(text)
        data = json.loads(text)
        added = _added_tokens(data.get("added_tokens") or [])
        settings = _completed(settings, added, ids)
        if not isinstance(settings.get("add_bos_token"), bool):
            bos = json.dumps(_content(settings.get("bos_token")))
            settings["add_bos_token"] = bos != "null" and bos in json.dumps(data.get("post_processor"))
        tokenizer = cls(backend, added_tokens=added, settings=settings)
        tokenizer._files = {JSON_FILE: source}
        return tokenizer

    @classmethod
    def _from_sentencepiece(cls, model: bytes, settings: dict[str, Any]) -> "Tokenizer":
        backend = SentencePieceBackend(model)
        ids = {piece: number for number, (piece, _) in enumerate(backend.pieces())}
        control = (UNK, BOS, EOS, PAD, *CONTROL_TOKENS)
        missing = [token for token in control if token not in ids]
        if missing:
            raise ModelError(
                "{file} lacks {names}.", "Use a tokenizer trained here.",
                file=SENTENCEPIECE_FILE, names=", ".join(missing),
            )  # fmt: skip
        added = {token: ids[token] for token in control}
        tokenizer = cls(backend, added_tokens=added, settings=settings)
        as_json = json.dumps(tokenizer_json(backend, added), ensure_ascii=False)
        tokenizer._files = {SENTENCEPIECE_FILE: model, JSON_FILE: as_json.encode()}
        return tokenizer

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a model folder."""
        make_folder(folder)
        settings = json.dumps(self._settings, ensure_ascii=False, indent=2).encode()
        for name, content in {**self._files, SETTINGS_FILE: settings}.items():
            write_bytes(folder / name, content)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; never a control token."""
        if _has_surrogates(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._backend.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids. Control tokens are left out; broken UTF-8 becomes U+FFFD."""
        decoder = self.stream_decoder()
        return "".join([decoder.push(token_id) for token_id in ids]) + decoder.flush()

    def spell(self, ids: Sequence[int]) -> str:
        """Text of ids, each control token as it is written: for people who want to see what a model sees."""
        decoder = StreamDecoder(self._backend, {number: token for token, number in self.added_tokens.items()})
        return "".join([decoder.push(token_id) for token_id in ids]) + decoder.flush()

    def stream_decoder(self, *, keeps_markup: bool = False) -> "StreamDecoder":
        """A decoder that takes one id at a time and never gives half a character.

        Control tokens are left out, but with `keeps_markup` those of reasoning and tool calls are spelt.
        """
        shown = {self.added_tokens[tag]: tag for tag in MARKUP if keeps_markup and tag in self.added_tokens}
        return StreamDecoder(self._backend, dict.fromkeys(self.added_tokens.values(), "") | shown)

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for; nothing for control tokens and ids without one."""
        return b"" if token_id in self._control_ids else self._backend.token_bytes(token_id)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids."""
        digest = hashlib.sha256()
        for name in sorted(self._files):
            digest.update(hashlib.sha256(self._files[name]).digest())
        return digest.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The content of its `tokenizer.json`."""
        value: dict[str, Any] = json.loads(self._files[JSON_FILE].decode("utf-8", "replace"))
        return value

    def _special(self, name: str) -> int | None:
        token = _content(self._settings.get(name))
        return None if token is None else self.added_tokens.get(token)


class StreamDecoder:
    """Joins the bytes of tokens and gives out whole characters."""

    def __init__(self, backend: Backend, controls: Mapping[int, str]) -> None:
        """`controls` are the ids of control tokens and how each is shown, which may be not at all."""
        self._backend, self._controls = backend, controls
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._strips_space = backend.strips_first_space

    def push(self, token_id: int) -> str:
        """Text that this id completes; empty while a character is incomplete."""
        if token_id in self._controls:
            shown = self._controls[token_id]
            return self.flush() + shown if shown else ""
        return self._strip(self._utf8.decode(self._backend.token_bytes(token_id)))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character."""
        return self._strip(self._utf8.decode(b"", final=True))

    def _strip(self, text: str) -> str:
        if self._strips_space and text:
            self._strips_space = False
            return text.removeprefix(" ")
        return text


def _after_source_line(exc: Exception) -> str:
    """SentencePiece's own words, without its file, line and condition."""
    return re.sub(r"^.*\] *", "", str(exc).splitlines()[-1]) or "there is no text."


def _coverage(texts: Sequence[str], max_characters: int) -> float:
    """The share of the text that its `max_characters` most frequent characters make up, within the limits."""
    counts = Counter(itertools.chain.from_iterable(texts))
    frequent = sum(count for _, count in counts.most_common(max_characters))
    return min(max(frequent / max(counts.total(), 1), MIN_COVERAGE), MAX_COVERAGE)


def _own_settings() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "astrai_sentencepiece": True,
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNK,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHATML,
    }


def _chat_template(settings: dict[str, Any], added_tokens: Mapping[str, int]) -> str:
    """The default template; a list of named ones is an older spelling."""
    chatml = CHATML
    if TURN_START not in added_tokens and WIDE_TURN_START in added_tokens:
        chatml = CHATML.replace(TURN_START, WIDE_TURN_START).replace(TURN_END, WIDE_TURN_END)
    template = settings.get("chat_template") or chatml
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or chatml
    return str(template)


def _added_tokens(entries: object) -> dict[str, int]:
    """The ids of `added_tokens`, which the library does not see. Raises ModelError for what are none."""
    found: dict[str, int] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        content, number = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (entry, None)
        if not isinstance(content, str) or type(number) is not int or not 0 <= number < MAX_VOCAB_SIZE:
            raise ModelError(
                "{file} cannot be read: its added token {token!r} has the id {number}.",
                "Download the model folder again.",
                file=JSON_FILE, token=str(content)[:60], number=str(number)[:20],
            )  # fmt: skip
        found[content] = number
    return found


def _content(token: object) -> str | None:
    """The text of a special token, which may stand in an object with flags."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _completed(settings: dict[str, Any], added: Mapping[str, int], ids: Mapping[str, int]) -> dict[str, Any]:
    """The settings with bos and eos, from ids or well-known names, where they name none that exists."""
    by_id = {number: token for token, number in added.items()}
    found = {name: by_id[number] for name, number in ids.items() if number in by_id}
    endings = [token for token in TEXT_ENDS if token in added]
    if endings:
        found.setdefault("eos_token", endings[0])
    missing = {name: token for name, token in found.items() if _content(settings.get(name)) not in added}
    return {**settings, **missing}


def _read_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json` in either spelling, with the stop ids of the model's configs."""
    settings = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / SETTINGS_FILE)}
    special = settings.get("special_tokens")
    if isinstance(special, dict):
        settings |= {key: value for key, value in special.items() if key not in settings}
    if not settings.get("chat_template") and (folder / "chat_template.jinja").exists():
        settings["chat_template"] = _read(folder / "chat_template.jinja").decode("utf-8", "replace")
    own = settings.get("stop_ids")
    stops = [
        *(own if isinstance(own, list) else ()),
        *(stop for name in MODEL_CONFIGS for stop in _eos_ids(folder / name)),
    ]
    ids = sorted({token_id for token_id in stops if type(token_id) is int})
    return {**settings, "stop_ids": ids} if ids else settings


def _ids_in_configs(folder: Path) -> dict[str, int]:
    """bos_token and eos_token by the ids of `config.json`; of several ends the first."""
    config = _read_json(folder / MODEL_CONFIGS[0])
    ids = {"bos_token": config.get("bos_token_id"), "eos_token": next(iter(_eos_ids(folder / MODEL_CONFIGS[0])), None)}
    return {name: number for name, number in ids.items() if type(number) is int}


def _eos_ids(path: Path) -> list[Any]:
    """`eos_token_id` of a config, one or a list."""
    eos = _read_json(path).get("eos_token_id")
    return eos if isinstance(eos, list) else [eos]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(_read(path))
    except (ValueError, RecursionError) as exc:
        raise ModelError(
            "{path} is not readable JSON: {reason}.", "Download the model folder again.", path=path, reason=exc
        ) from exc
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> bytes:
    try:
        refuse_placeholder(path)
        return read_bytes(path)
    except OSError as exc:
        raise ModelError(
            "{path} cannot be read: {reason}.", "Choose a folder that holds a whole model.", path=path, reason=exc
        ) from exc


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)
