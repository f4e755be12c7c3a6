"""How text is compared in keyword search: one folding and one splitting for documents and for questions.

SQLite's own tokenizers find no Chinese word, as Chinese has no spaces. Here a run of Chinese characters becomes its
overlapping pairs, and everything else its words, of which the English stem is kept.
"""

import re
import threading
import unicodedata
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencc import OpenCC
    from snowballstemmer.basestemmer import BaseStemmer

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"(?P<han>[{HAN}]+)|[^\W_{HAN}]+")
_HAN = re.compile(f"[{HAN}]")
_ACCENT = re.compile("[\u0300-\u036f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_STEMMING = threading.Lock()  # the stemmer keeps the word that it works on
MAX_TERM_CHARS = 64  # longer ones are data, and would only swell the index


def fold(text: str) -> str:
    """The text in one spelling: NFKC, lower case, Chinese in Simplified characters. Its length may change."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", _SURROGATE.sub("\ufffd", text)).lower()
    return _simplifier().convert(folded) if _HAN.search(folded) else folded


def terms(text: str) -> list[str]:
    """The word stems, numbers and pairs of Chinese characters of a text, folded, without accents, in order.

    A Chinese character that stands alone stays one.
    """
    found: list[str] = []
    for match in _RUN.finditer(_without_accents(fold(text))):
        run = match.group()
        if match.lastgroup is None:
            found.append(_stem(run[:MAX_TERM_CHARS]))
        elif len(run) == 1:
            found.append(run)
        else:
            found.extend(map("".join, pairwise(run)))
    return found


def is_han(character: str) -> bool:
    """Whether a character is Chinese."""
    return _HAN.match(character) is not None


def han_share(text: str) -> float:
    """The share of Chinese characters among the letters and digits of a text."""
    letters = sum(character.isalnum() for character in text)
    return len(_HAN.findall(text)) / letters if letters else 0.0


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text)))


def _stem(word: str) -> str:
    return word if not word.isascii() or word.isdigit() else _english_stem(word)


@lru_cache(maxsize=1 << 15)  # numbers, which never come again, are not among them
def _english_stem(word: str) -> str:
    with _STEMMING:
        return _stemmer().stemWord(word)


@cache
def _stemmer() -> "BaseStemmer":
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@cache
def _simplifier() -> "OpenCC":
    from opencc import OpenCC

    return OpenCC("t2s")
