"""The tokenizer of a GGUF file as a `tokenizer.json`, and a `tokenizer.json` as GGUF's metadata.

GGUF holds tokens with a type each, and either merges ("gpt2": byte-level BPE) or scores ("llama":
SentencePiece's BPE with byte fallback). SentencePiece merges any neighbours whose union is a piece, best
score first; so every split of a piece is a merge, and the order of the merges is a score.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from core.data.pre_tokenizers import as_json, name_in_gguf, pre_tokenizer
from core.data.tokenizer_backends import SPACE_MARK
from core.errors import ModelError

BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# Longer pieces would take too long to split at every place.
MAX_PIECE_CHARS = 256
_PREFIX = "tokenizer.ggml."
_BROKEN = "Use another file of this model."


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `tokenizer.json` and the `tokenizer_config.json` that say the same. Raises ModelError."""
    kind = metadata.get(f"{_PREFIX}model")
    tokens = _list(metadata, "tokens", str)
    types = _list(metadata, "token_type", int) if f"{_PREFIX}token_type" in metadata else [NORMAL] * len(tokens)
    if len(types) != len(tokens) or not tokens:
        raise ModelError(
            "The file has {count} tokens and {types} types of them.", _BROKEN, count=len(tokens), types=len(types)
        )
    if kind == BYTE_LEVEL:
        model, adds_bos = _byte_level(metadata, tokens, types)
    elif kind == SENTENCEPIECE:
        model, adds_bos = _sentencepiece(metadata, tokens, types)
    else:
        raise ModelError(
            "The tokenizer is of type {found}.", "Use a file with a gpt2 or llama tokenizer.", found=repr(kind)
        )
    added = [
        _added_token(token, number, types[number] != USER_DEFINED)
        for number, token in enumerate(tokens)
        if types[number] in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    settings = _settings(metadata, tokens, adds_bos)
    bos = settings.get("bos_token") if settings["add_bos_token"] else None
    form = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return {**form, **model, "post_processor": _starts_with(bos, tokens)}, settings


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], types: list[int]) -> tuple[dict[str, Any], bool]:
    pre = pre_tokenizer(str(metadata.get(f"{_PREFIX}pre", "default")))
    merges = _list(metadata, "merges", str)
    # A pair is cut at its first space behind the first character, which may itself be a space.
    pairs = [[merge[:cut], merge[cut + 1 :]] for merge in merges if (cut := merge.find(" ", 1)) > 0]
    vocab = {token: number for number, token in enumerate(tokens) if types[number] != UNUSED}
    known = [pair for pair in pairs if pair[0] in vocab and pair[1] in vocab and pair[0] + pair[1] in vocab]
    if len(known) < len(merges):
        raise ModelError(
            "{bad} of {count} merges are not of its tokens.", _BROKEN, bad=len(merges) - len(known), count=len(merges)
        )
    model = {
        **as_json(pre),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(vocab, known, ignore_merges=pre.ignores_merges),
    }
    return model, pre.adds_bos


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str], types: list[int]) -> tuple[dict[str, Any], bool]:
    scores = _list(metadata, "scores", float)
    if len(scores) != len(tokens):
        raise ModelError(
            "The file has {count} tokens and {scores} scores of them.", _BROKEN, count=len(tokens), scores=len(scores)
        )
    pieces = {token: scores[number] for number, token in enumerate(tokens) if types[number] == NORMAL}
    unknown = next((token for number, token in enumerate(tokens) if types[number] == UNKNOWN), None)
    vocab = {token: number for number, token in enumerate(tokens) if types[number] != UNUSED}
    has_prefix = metadata.get(f"{_PREFIX}add_space_prefix", True) is True
    space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    prefix = [{"type": "Prepend", "prepend": SPACE_MARK}] if has_prefix else []
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if has_prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    model = {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, space]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(vocab, merges_of_pieces(pieces), unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }
    return model, True


def merges_of_pieces(scores: Mapping[str, float]) -> list[list[str]]:
    """Every split of every piece into two pieces, best score of the piece first. Raises ModelError."""
    longest = max(map(len, scores), default=0)
    if longest > MAX_PIECE_CHARS:
        raise ModelError("The tokenizer has a piece of {size:,} characters.", _BROKEN, size=longest)
    return [
        [piece[:cut], piece[cut:]]
        for piece in sorted(scores, key=lambda piece: -scores[piece])
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]


def _bpe(vocab: dict[str, int], merges: list[list[str]], **changes: Any) -> dict[str, Any]:
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {**model, **changes, "vocab": vocab, "merges": merges}


def _added_token(token: str, number: int, is_special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": is_special}
    return {"id": number, "content": token, **flags}


def _starts_with(bos: str | None, tokens: list[str]) -> dict[str, Any] | None:
    """The `post_processor` that puts a token before a text."""
    if bos is None:
        return None
    single = [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 0}}]
    special = {bos: {"id": bos, "ids": [tokens.index(bos)], "tokens": [bos]}}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _settings(metadata: Mapping[str, Any], tokens: list[str], adds_bos: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = metadata.get(f"{_PREFIX}{key}_token_id")
        if isinstance(number, int) and number < len(tokens):
            settings[f"{name}_token"] = tokens[number]
    stops = [metadata.get(f"{_PREFIX}{key}_token_id") for key in ("eot", "eom")]
    settings["stop_ids"] = [number for number in stops if isinstance(number, int) and number < len(tokens)]
    says = metadata.get(f"{_PREFIX}add_bos_token")
    settings["add_bos_token"] = says if isinstance(says, bool) else adds_bos
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    return settings


def _list(metadata: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    values = metadata.get(_PREFIX + name)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise ModelError(
            "The file has no list of {wanted} called {name}.", _BROKEN, wanted=kind.__name__, name=_PREFIX + name
        )
    return values


def tokenizer_to_gguf(source: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Tokens, types and merges or scores of a `tokenizer.json`, filled up to `vocab_size`. Raises ModelError."""
    model = source["model"]
    added = {token["id"]: token for token in source.get("added_tokens", [])}
    by_id = {number: token for token, number in model["vocab"].items()} | {
        number: token["content"] for number, token in added.items()
    }
    if max(by_id) >= vocab_size:
        raise ModelError(
            "The tokenizer has {count} ids, the model {embeddings} embeddings.", _BROKEN,
            count=max(by_id) + 1, embeddings=vocab_size,
        )  # fmt: skip
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(vocab_size)]
    is_byte_level = not model.get("byte_fallback")
    types = [_type(number, by_id, added, model) for number in range(vocab_size)]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
    values: dict[str, Any] = {"tokens": tokens, "token_type": types}
    if is_byte_level:
        pre = name_in_gguf(dict(source))
        values |= {"model": BYTE_LEVEL, "pre": pre, "merges": [f"{left} {right}" for left, right in merges]}
    else:
        values |= {"model": SENTENCEPIECE, "pre": "default", "add_space_prefix": _has_prefix(source)}
        pieces = [token for number, token in enumerate(tokens) if types[number] == NORMAL]
        ranks = _scores(pieces, merges)
        values["scores"] = [ranks.get(token, 0.0) for token in tokens]
    return {_PREFIX + name: value for name, value in values.items()}


def _type(number: int, by_id: Mapping[int, str], added: Mapping[int, Any], model: Mapping[str, Any]) -> int:
    token = by_id.get(number)
    if token is None:
        return UNUSED
    if token == model.get("unk_token"):
        return UNKNOWN
    if number in added:
        return CONTROL if added[number].get("special") else USER_DEFINED
    is_byte = model.get("byte_fallback") and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return BYTE if is_byte else NORMAL


def _has_prefix(source: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text. Raises ModelError for a normaliser that GGUF cannot name."""
    normalizer, pre = source.get("normalizer") or {}, source.get("pre_tokenizer") or {}
    steps = [step.get("type") for step in normalizer.get("normalizers", [normalizer]) if step]
    if pre.get("type") == "Metaspace" and pre.get("split") is False and not steps:
        return pre.get("prepend_scheme") != "never"
    if pre or steps not in (["Replace"], ["Prepend", "Replace"]):
        raise ModelError("The tokenizer changes texts in a way that GGUF has no name for.", "Export to hf instead.")
    return "Prepend" in steps


def _scores(pieces: Iterable[str], merges: list[list[str]]) -> dict[str, float]:
    """Minus the rank of each piece among the merges. Raises ModelError where merges are not those of scores."""
    known = set(pieces)
    results = [left + right for left, right in merges]
    order = [result for result, following in pairwise([*results, ""]) if result != following]
    wanted = Counter(
        {piece: sum(piece[:cut] in known and piece[cut:] in known for cut in range(1, len(piece))) for piece in known}
    )
    if len(set(order)) < len(order) or Counter(results) != +wanted:
        raise ModelError("The tokenizer's merges have an order that GGUF cannot hold.", "Export to hf instead.")
    return {piece: -float(rank) for rank, piece in enumerate(order, start=1)}


def dump(source: Mapping[str, Any]) -> bytes:
    """A `tokenizer.json` as bytes."""
    return json.dumps(source, ensure_ascii=False).encode()
