"""Plain text to ids and ids to bytes: SentencePiece for our tokenizers, `tokenizers` for others'.

A backend knows nothing of control tokens: no text encodes to one. Both give the bytes of single
tokens, so that decoding is joining bytes, whatever the vocabulary.
"""

import json
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import sentencepiece
import tokenizers

from core.errors import ModelError

SPACE_MARK = "\u2581"
# Longer texts are cut into blocks, so that time and memory stay linear in the text.
BLOCK_CHARS = 1 << 17


class Backend(Protocol):
    """Encodes plain text, and says which bytes a token stands for."""

    vocab_size: int
    strips_first_space: bool

    def encode(self, text: str) -> list[int]: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class SentencePieceBackend:
    """A SentencePiece BPE model with byte fallback and no normalisation."""

    strips_first_space = False

    def __init__(self, model: bytes) -> None:
        """Raises ModelError when `model` is not such a model."""
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as exc:
            raise ModelError("tokenizer.model is not a SentencePiece model.", "Download the model again.") from exc
        self.vocab_size: int = self._processor.vocab_size()
        self._byte_ids = [self._processor.piece_to_id(f"<0x{value:02X}>") for value in range(256)]
        self._space_mark_ids = [self._byte_ids[value] for value in SPACE_MARK.encode()]

    def encode(self, text: str) -> list[int]:
        """U+2581 is SentencePiece's own mark for a space, so a real one is spelt in bytes."""
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE_MARK)):
            if number:
                ids += self._space_mark_ids
            for block in blocks(part):
                ids += self._processor.encode(block)
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        """Nothing for ids beyond the pieces: a model may have more embeddings, to fill up a round number."""
        return self._bytes[token_id] if token_id < self.vocab_size else b""

    @cached_property
    def _bytes(self) -> list[bytes]:
        processor = self._processor
        values = [_sentencepiece_bytes(processor.id_to_piece(i)) for i in range(self.vocab_size)]
        for value, token_id in enumerate(self._byte_ids):
            values[token_id] = bytes([value])
        return values

    def pieces(self) -> list[tuple[str, float]]:
        """Every piece and its score, in the order of ids."""
        processor = self._processor
        return [(processor.id_to_piece(i), processor.get_score(i)) for i in range(self.vocab_size)]


class HuggingFaceBackend:
    """The BPE of somebody's `tokenizer.json`, without its added tokens."""

    def __init__(self, source: str) -> None:
        """Raises ModelError for a file that is not a BPE `tokenizer.json`."""
        try:
            data: dict[str, Any] = json.loads(source)
            plain = _without_added_tokens(data)
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
        except Exception as exc:  # the library raises bare Exception
            if isinstance(exc, ModelError):
                raise
            raise ModelError(
                "tokenizer.json cannot be read: {reason}.", "Download the model folder again.", reason=exc
            ) from exc
        self.vocab_size: int = 1 + max(data["model"]["vocab"].values())
        decoder = json.dumps(data.get("decoder") or {})
        self._is_byte_level = '"ByteLevel"' in decoder or '"ByteLevel"' in json.dumps(data.get("pre_tokenizer") or {})
        self.strips_first_space = '"Strip"' in decoder or '"prepend_scheme": "first"' in decoder
        vocab = data["model"]["vocab"]
        self._strings = {token_id: token for token, token_id in vocab.items()}
        mark = [vocab.get(f"<0x{value:02X}>") for value in SPACE_MARK.encode()]
        has_mark = not self._is_byte_level and not self.strips_first_space and None not in mark
        self._space_mark_ids: list[int] | None = mark if has_mark else None

    def encode(self, text: str) -> list[int]:
        """Where U+2581 is the mark for a space, a real one is spelt in bytes if the tokenizer has them."""
        if self._space_mark_ids is None or SPACE_MARK not in text:
            return self._encode(text)
        first, *others = text.split(SPACE_MARK)
        return self._encode(first) + [
            token_id for part in others for token_id in (*self._space_mark_ids, *self._encode(part))
        ]

    def _encode(self, text: str) -> list[int]:
        encodings = self._tokenizer.encode_batch_fast(list(blocks(text)), add_special_tokens=False)
        return [token_id for encoding in encodings for token_id in encoding.ids]

    def token_bytes(self, token_id: int) -> bytes:
        token = self._strings.get(token_id, "")
        if self._is_byte_level:
            return bytes(BYTE_LEVEL[char] for char in token if char in BYTE_LEVEL)
        return _sentencepiece_bytes(token)


def blocks(text: str) -> list[str]:
    """The text in parts of about BLOCK_CHARS, cut after a line or a space where there is one."""
    parts, begin = [], 0
    while len(text) - begin > BLOCK_CHARS:
        limit = begin + BLOCK_CHARS
        end = max(text.rfind("\n", begin, limit), text.rfind(" ", begin, limit)) + 1
        end = end if end > begin else limit
        parts.append(text[begin:end])
        begin = end
    return [*parts, text[begin:]] if begin < len(text) else parts


def tokenizer_json(backend: SentencePieceBackend, added_tokens: dict[str, int]) -> dict[str, Any]:
    """The same tokenizer as a `tokenizer.json`.

    SentencePiece merges any neighbours whose union is a piece, best score first; so every split of a
    piece into two pieces becomes a merge, ranked by the piece's score.
    """
    pieces = backend.pieces()
    scores = {piece: score for piece, score in pieces if piece not in added_tokens}
    ranked = sorted(islice(scores, 256, None), key=lambda piece: -scores[piece])
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token, token_id) for token, token_id in added_tokens.items()],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, (piece, _) in enumerate(pieces)},
            "merges": merges,
        },
    }


def _added_token(token: str, token_id: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": token, **flags}


def _without_added_tokens(data: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a tokenizer that cannot produce an added token from text."""
    model = data.get("model", {})
    if model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise ModelError(
            "The tokenizer is of type {found}.", "Only BPE tokenizers are supported.", found=model.get("type")
        )
    added = {token["content"] for token in data.get("added_tokens", [])} - {model.get("unk_token")}
    vocab = {token: token_id for token, token_id in model["vocab"].items() if token not in added}
    merges = [merge for merge in model.get("merges", []) if _merged(merge) not in added]
    return {**data, "added_tokens": [], "post_processor": None, "model": {**model, "vocab": vocab, "merges": merges}}


def _merged(merge: str | list[str]) -> str:
    return merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)


def _sentencepiece_bytes(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE_MARK, " ").encode()


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's map from printable characters to bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    alphabet = {chr(value): value for value in printable}
    return alphabet | {chr(256 + place): value for place, value in enumerate(others)}


BYTE_LEVEL = _byte_level_alphabet()
