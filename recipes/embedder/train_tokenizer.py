"""The embedder's vocabulary: English words and pieces, Chinese words of up to four characters, each its own budget.

Two unigram models are trained apart and joined: no word mixes the scripts, so their scores never compete. A
Latin word's first piece is marked with «▁», so that "car" and the middle of "scarf" differ; a Chinese word's is
not, for it stands anywhere. Punctuation is dropped: it says nothing about the meaning of a mean.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
WORD = rf"[{HAN}]+|[^\W\d_{HAN}]+|\d+"
SPACE_MARK = "▁"
UNKNOWN = "<unk>"
FOREIGN = {"en": re.compile(r"[^a-z0-9 ]+"), "zh": re.compile(rf"[^{HAN}]+")}
MAX_PIECE = {"en": 16, "zh": 4}
MIN_CHARACTER_COUNT = 8


def pre_tokenizer() -> Any:
    """Runs of Han, of other letters and of digits; the latter two marked at the start."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), "removed", invert=True),
            pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme="always", split=False),
            pre_tokenizers.Split(Regex(rf"{SPACE_MARK}(?=[{HAN}])"), "removed"),
        ]
    )


def train(texts: Mapping[str, Iterable[str]], sizes: Mapping[str, int]) -> Tokenizer:
    """A tokenizer of at most sum(sizes) + 1 tokens from the folded texts of each language."""
    pieces: dict[str, float] = {}
    for language, size in sizes.items():
        part = Tokenizer(models.Unigram())
        part.pre_tokenizer = pre_tokenizer()
        trainer = trainers.UnigramTrainer(
            vocab_size=size,
            special_tokens=[UNKNOWN],
            unk_token=UNKNOWN,
            max_piece_length=MAX_PIECE[language],
            show_progress=False,
        )
        part.train_from_iterator(_own_script(list(texts[language]), language), trainer)
        pieces |= {piece: score for piece, score in json.loads(part.to_str())["model"]["vocab"] if piece != UNKNOWN}
    unknown = [(UNKNOWN, min(pieces.values()) - 10)]
    joined = Tokenizer(models.Unigram(unknown + list(pieces.items()), unk_id=0, byte_fallback=False))
    joined.pre_tokenizer = pre_tokenizer()
    return joined


def _own_script(texts: list[str], language: str) -> list[str]:
    """Without the letters of other scripts and the rarest signs, each of which would cost a token."""
    own = [FOREIGN[language].sub(" ", text) for text in texts]
    counts = Counter(char for text in own for char in text)
    rare = str.maketrans(dict.fromkeys((char for char, n in counts.items() if n < MIN_CHARACTER_COUNT), " "))
    return [text.translate(rare) for text in own]
